{# Product codes in titles and descriptions: GTINs (EAN, UPC) and model numbers. #}

{#
    A text in which codes are separate words: punctuation that surrounds codes becomes spaces, scripts without spaces are separated
    from Latin letters and digits, and an EAN-13 or UPC-A in the groups printed under a barcode is joined.
#}
{% macro as_code_words(text) -%}
    {%- set spaced = replace_matches(in_plain_width(text), "'[\\s/,;:()\\[\\]{}\"|!?*，。：；、（）【】「」]+'", "' '") -%}
    {%- set apart = replace_matches(
        replace_matches(spaced, "'([\\p{Han}\\p{Hiragana}\\p{Katakana}\\p{Thai}])([0-9A-Za-z])'", "'\\1 \\2'"),
        "'([0-9A-Za-z])([\\p{Han}\\p{Hiragana}\\p{Katakana}\\p{Thai}])'", "'\\1 \\2'"
    ) -%}
    replace(trim({{ replace_matches(
        replace_matches(apart, "'(^| )([0-9]) ([0-9]{6}) ([0-9]{6})( |$)'", "'\\1\\2\\3\\4\\5'"),
        "'(^| )([0-9]) ([0-9]{5}) ([0-9]{5}) ([0-9])( |$)'", "'\\1\\2\\3\\4\\5\\6'"
    ) }}), '#', '')
{%- endmacro %}

{# Whether a word announces a GTIN. #}
{% macro announces_gtin(word) -%}
    {{ matches(
        'lower(' ~ word ~ ')',
        "'^(ean|gtin|upc|jan|isbn)(-?(8|12|13|14|a))?[.]?$|^(bar-?code|strichcode|streepjescode|штрих-?код|штрихкод)[.]?$"
        ~ "|条码|条形码|條碼|バーコード|jan ?コード|บาร์โค้ด'"
    ) }}
{%- endmacro %}

{# Whether a word announces another kind of number: an order, a telephone, an article in the shop's own numbering. #}
{% macro announces_other_number(word) -%}
    {{ matches(
        'lower(' ~ word ~ ')',
        "'^(order|bestell(ung|nummer)?|commande|pedido|ordine|заказ|заказа|tel|phone|telefon|tel[eé]fono|whatsapp|wechat|fax|mobile"
        ~ "|handy|тел|телефон|lot|tracking|iban|id)[.]?$|订单|訂單|注文|电话|電話|微信|快递'"
    ) }}
{%- endmacro %}

{# A string of 8 to 14 digits as a GTIN of 14 digits. #}
{% macro as_gtin(digits) %}lpad({{ digits }}, 14, '0'){% endmacro %}

{# A GTIN that a column states, as 14 digits; null if it is no number of 8 to 14 digits. #}
{% macro stated_gtin(text) -%}
    {%- set digits = replace_matches(in_plain_width(text), "'[\\s-]+'", "''") -%}
    case when {{ matches(digits, "'^[0-9]{8,14}$'") }} then {{ as_gtin(digits) }} end
{%- endmacro %}

{# Whether the last digit of 14 is the check digit of the others (GS1, modulo 10). #}
{% macro has_check_digit(gtin) -%}
    (
        {%- for place in range(1, 15) -%}
        {{ 3 if place % 2 else 1 }} * cast(substr({{ gtin }}, {{ place }}, 1) as integer){{ ' + ' if not loop.last }}
        {%- endfor -%}
    ) % 10 = 0
{%- endmacro %}

{#
    Whether a GTIN of 14 digits has a prefix that GS1 gives to products traded openly: not those for use inside a shop (02, 04, 2),
    nor coupons (05, 98, 99). Without the check digit one number in ten would still be taken for a GTIN by chance.
#}
{% macro has_traded_prefix(gtin) -%}
    not {{ matches(gtin, "'^.(02|04|05|2|98[1-4]|99)|^.0000000|^9'") }}
{%- endmacro %}

{# Units whose quantities are no model numbers: "5000mAh", "10x15cm", "1080p", "1960s". #}
{% macro is_measure(word) -%}
    {{ matches(
        'lower(' ~ word ~ ')',
        "'^[0-9][0-9.,x×/-]*(mm|cm|dm|m|km|in|inch|inches|ft|yd|mg|g|kg|oz|lb|lbs|ct|ml|cl|l|ltr|mv|v|kv|w|kw|watt|volt|mah|ah|wh|kwh"
        ~ "|kb|mb|gb|tb|hz|khz|mhz|ghz|ms|s|sec|min|h|lm|k|ma|a|p|dpi|px|rpm|pcs|pc|er|pack|stk|st|шт|мл|л|г|кг|мм|см|м|вт|гб"
        ~ "|th|nd|rd|nm|kcal|iu|psi|bar|%|°c|°)?$'"
    ) }}
{%- endmacro %}

{#
    Whether a word is a model number: three digits and a Latin letter at least, four to 24 characters, no measure. Shorter ones
    ("K38", "5G", "MP3", "IP68") mean nothing or a property.
#}
{% macro is_model_number(word) -%}
    length({{ word }}) between 4 and 24
    and {{ matches(word, "'^[0-9A-Za-z][0-9A-Za-z./_-]*[0-9A-Za-z]$'") }}
    and {{ matches(word, "'[A-Za-z]'") }}
    and {{ count_matches(word, "'[0-9]'") }} >= 3
    and not {{ is_measure(word) }}
    and not {{ matches('lower(' ~ word ~ ')', "'^(usb|hdmi|wifi|wi-fi|bluetooth|din|iso|en|ip|http|www)[0-9._-]|[.](com|net|org|ru|cn)|/.*/'") }}
{%- endmacro %}

{#
    A quantity in a title: a number with a unit of volume, weight, memory, charge, energy or power. Lengths and times are left out:
    a product has several, and titles do not say which is meant.
#}
{% macro quantity_pattern() -%}
    '(^|[\s(\[,;/|+&-])[0-9]+([.,][0-9]+)*\s*(ml|cl|l|mg|g|kg|oz|lb|lbs|mb|gb|tb|mah|wh|kwh|w|kw)($|[\s)\],;/|+&.])'
{%- endmacro %}

{# Whether a title offers several at once ("3 x 30 g", "pack of 10"), so that a quantity may be that of one or of all. #}
{% macro is_multipack(plain) -%}
    {{ matches(plain, "'[0-9] ?[x×*] ?[0-9]|(^| )[x×][0-9]|[0-9] ?(x|pcs|pc|pieces|pack|packs|er|stk|stuck|шт|個|个|件|개|入)( |$|[^a-z])"
        ~ "|(pack|set|lot|box|case|bundle) of|(^| )(twin|double|multi)[ -]?pack'") }}
{%- endmacro %}
