{#
    What is looked for in titles and descriptions: how a brand's name is hidden, what makes a word odd, when titles are alike;
    and which reviews are too short to tell one writer from another.
#}

{# A text longer than this is not looked through; titles and descriptions are shorter by far. #}
{% macro most_characters() %}20000{% endmacro %}

{#
    A text as it is read: without what nobody sees (characters of no width, marks of direction), by which words are hidden from a
    search, and in letters of plain width.
#}
{% macro as_read(text) -%}
    case
        when {{ bytes_in(text) }} <> length({{ text }}) then {{ replace_matches(in_plain_width(text), "'\\p{Cf}+'", "''") }}
        else {{ text }}
    end
{%- endmacro %}

{# A text with a space wherever a line or a column ends. #}
{% macro on_one_line(text) -%}
    {{ translated(text, 'chr(9) || chr(10) || chr(13)', "'   '") }}
{%- endmacro %}

{# A text without white space around it, and with a single space wherever there is any within. #}
{% macro single_spaced(text) -%}
    trim({{ replace_matches(text, "'[\\p{Z}\\p{Cc}]+'", "' '") }})
{%- endmacro %}

{# The surroundings of a part of a long text: one line that contains it. #}
{% macro around(text, part) -%}
    case
        when length({{ text }}) <= {{ most_quoted_characters() }} then {{ text }}
        else substr({{ text }}, greatest(1, position({{ part }} in {{ text }}) - {{ most_quoted_characters() // 2 }}), {{ most_quoted_characters() }})
    end
{%- endmacro %}
{% macro most_quoted_characters() %}{{ return(200) }}{% endmacro %}

{# How many words a text has, as as_words tells them. #}
{% macro words_in(text) -%}
    len({{ parts_of('trim(' ~ as_words(text) ~ ')', "' '") }})
{%- endmacro %}

{#
    The key under which a name and what looks like it are the same: accents dropped, letters of other scripts and forms,
    digits and signs replaced by the Latin letter that they pass for, then letters and spaces alone. What passes for one
    another has one letter: i, l and 1 are l; rn is m and vv is w.
#}
{% macro look_alike_key(text) -%}
    {%- set others = "'аеорсухкмтнвіѕԁјӏгьԛԝһ" ~ "αορνετκιυχ" ~ "013456789i|!$@€£'" -%}
    {%- set latin = "'aeopcyxkmthblsdjlrbqwh" ~ "aopvetklux" ~ "oleasbtbglllsael'" -%}
    replace(replace({{ replace_matches(
        translated(without_accents('lower(' ~ in_plain_letters(text) ~ ')'), others, latin), "'[^\\p{L} ]+'", "''"
    ) }}, 'rn', 'm'), 'vv', 'w')
{%- endmacro %}

{# A text with plain letters in place of circled ones and of Latin ones that few keyboards have. #}
{% macro in_plain_letters(text) -%}
    {%- set others = "'ⓐⓑⓒⓓⓔⓕⓖⓗⓘⓙⓚⓛⓜⓝⓞⓟⓠⓡⓢⓣⓤⓥⓦⓧⓨⓩⒶⒷⒸⒹⒺⒻⒼⒽⒾⒿⓀⓁⓂⓃⓄⓅⓆⓇⓈⓉⓊⓋⓌⓍⓎⓏ" ~ "ıøØđĐłŁŧŦħĦ¢'" -%}
    {%- set latin = "'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz" ~ "iooddlltthhc'" -%}
    case
        when {{ bytes_in(text) }} <> length({{ text }}) then {{ translated(in_plain_width(text), others, latin) }}
        else {{ text }}
    end
{%- endmacro %}

{#
    A text as words (as_words) in which the ratio 1:1 is a word of its own, 1to1: without its sign it would be in every
    "1 1/2 inch" and "USB 1.1".
#}
{% macro as_words_and_ratios(text) -%}
    {%- set has_ratio -%}
        {{ has_text(text, "'1:1'") }} or {{ has_text(text, "'1：1'") }} or {{ has_text(text, "'1 : 1'") }}
    {%- endset -%}
    {{ as_words('case when ' ~ has_ratio ~ ' then ' ~ replace_matches(
        text, "'(^|[^\\p{N}:.,])1 ?[:：] ?1($|[^\\p{N}:])'", "'\\1 1to1 \\2'"
    ) ~ ' else ' ~ text ~ ' end') }}
{%- endmacro %}

{# Words in which letters of two scripts stand side by side: nobody's keyboard writes them. #}
{% macro mixed_words(text) -%}
    {{ count_matches(text, "'[\\p{Latin}][\\p{Cyrillic}\\p{Greek}]|[\\p{Cyrillic}\\p{Greek}][\\p{Latin}]'") }}
{%- endmacro %}

{#
    Titles are compared by bands of MinHash over their words and pairs of words: two that have a share j of these in common
    agree in a band with probability j^6, in one of the four with 1 - (1 - j^6)^4: 0.79 where the last word of eleven was
    changed (j = 19/23), 0.001 where two titles of one product share a quarter. Each band is a number.
#}
{% macro title_bands() %}{{ return([0, 1, 2, 3]) }}{% endmacro %}
{% macro hashes_per_band() %}{{ return(6) }}{% endmacro %}

{# The columns of a relation that hold them. #}
{% macro title_band_columns(relation) -%}
    {%- for band in title_bands() -%}
        {{ relation }}.title_band_{{ band }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{% macro title_band(words, band) -%}
    {%- set hashes = [] -%}
    {%- for number in range(band * hashes_per_band(), (band + 1) * hashes_per_band()) -%}
        {%- do hashes.append(least_hash(words, number)) -%}
    {%- endfor -%}
    {{ row_hash(hashes) }}
{%- endmacro %}

{# What is known by a text: its title and description together. #}
{% macro written_digest(relation) -%}
    {{ text_digest("coalesce(" ~ relation ~ ".title, '') || chr(10) || coalesce(" ~ relation ~ ".description, '')") }}
{%- endmacro %}

{# What findings rest on apart from the text: this code, this engine, and the brands' names. One row. #}
{% macro text_recipes() -%}
    select {{ digest_recipe() }} || ':' || coalesce(sum({{ row_hash([
        'names.name_key', 'names.word_count', 'names.known_from', 'names.known_until'
    ]) }}), 0) as recipe
    from {{ source('landed', 'run') }} as run
    left join {{ ref('int_brand_names') }} as names
        on true
    group by {{ digest_recipe() }}
{%- endmacro %}

{# The language of a review as the seeds write it; the empty text where it is not stated. #}
{% macro review_language(relation) -%}
    coalesce(lower(left({{ relation }}.language, 2)), '')
{%- endmacro %}

{#
    By what a review's text is known again: lower case, without what nobody sees, spaces and common signs (for these a regular
    expression takes twice the time).
#}
{% macro review_key(text) -%}
    {{ translated('lower(' ~ as_read(text) ~ ')', "' .,;:!?-()''。，！？、；：' || chr(9) || chr(10) || chr(13)", "''") }}
{%- endmacro %}

{#
    A review's text of fewer bytes than this, without spaces and signs, is what many write by chance ("great, thanks"): six
    English words have about as many, or ten Chinese characters.
#}
{% macro least_bytes() %}30{% endmacro %}
