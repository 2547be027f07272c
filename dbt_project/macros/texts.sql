{#
    Analysis of titles and descriptions: hidden brand names, words of mixed scripts, similar titles; and the minimum length of a
    review's text for comparisons between writers.
#}

{#
    A title as the words in which phrases of compatibility and the names of brands are looked for: as for the lexicon, with Hangul
    apart from Latin letters, and what Korean appends to a name ("브라더호환", "갤럭시용") apart from it.
#}
{% macro as_title_words(title) -%}
    {%- set words = as_words(for_lexicon(as_read(title))) -%}
    case
        when {{ bytes_in(title) }} = length({{ title }}) then {{ words }}
        else {{ replace_matches(
            replace_matches(words, "'([0-9a-z])(\\p{Hangul})'", "'\\1 \\2'"),
            "'(\\p{Hangul})(호환|호환용|전용|용) '", "'\\1 \\2 '"
        ) }}
    end
{%- endmacro %}

{# How many words of a title may stand between a phrase of compatibility and a brand's name that it refers to. #}
{% macro most_words_between() %}{{ return(4) }}{% endmacro %}

{# How many words the longest name of a brand has that is looked for in titles; a character of Chinese or Japanese is a word. #}
{% macro most_name_words() %}{{ return(6) }}{% endmacro %}

{# Maximum length of a text that is analysed; titles and descriptions are far shorter. #}
{% macro most_characters() %}20000{% endmacro %}

{#
    A text as a reader sees it: without invisible characters (zero width, direction marks), which hide words from a search, and
    with full-width letters converted.
#}
{% macro as_read(text) -%}
    case
        when {{ bytes_in(text) }} <> length({{ text }}) then {{ replace_matches(in_plain_width(text), "'\\p{Cf}+'", "''") }}
        else {{ text }}
    end
{%- endmacro %}

{#
    A text in which the phrases of a lexicon are looked for, and the phrase itself: without accents (and the marks of other scripts),
    and with spaces around each character of scripts that write no spaces between words, as as_words does for Chinese. A phrase of
    these scripts is found wherever its characters follow each other, also across words: listings offer copies in words that no
    dictionary has.
#}
{% macro for_lexicon(text) -%}
    case
        when {{ bytes_in(text) }} = length({{ text }}) then {{ text }}
        else {{ replace_matches(
            without_accents(text), "'([ー\\p{Hiragana}\\p{Katakana}\\p{Thai}\\p{Lao}\\p{Khmer}\\p{Myanmar}])'", "' \\1 '"
        ) }}
    end
{%- endmacro %}

{# The same, but with a space between the words of these scripts, as ICU's dictionaries find them: negations need words. #}
{% macro for_lexicon_of_words(text) -%}
    {{ without_accents('spaced_words(' ~ text ~ ')') }}
{%- endmacro %}

{#
    CTEs `other_forms`, the words of texts that are other forms of a lexicon's words, and `forms`, by language a map of each form to the
    lexicon's word (`word_of_form`, for in_lexicon_forms). Two words of a language are forms of one another if they have the same
    stem (Snowball), unless the form is another kind of word (genuine: genuinely) or more than one letter shorter (original:
    origin). A word of three letters has no other form.

    vocabulary: a relation with the columns language and word.
    lexicon_words: a relation with the columns language, stem_language and word. language may be an empty string, for texts without
    a stated one; the stem is that of stem_language.
#}
{% macro inflected_forms(vocabulary, lexicon_words) -%}
other_forms as (

    select
        {{ vocabulary }}.language,
        {{ vocabulary }}.word as form,
        min({{ lexicon_words }}.word) as word
    from {{ vocabulary }}
    inner join {{ lexicon_words }}
        on
            {{ lexicon_words }}.language = {{ vocabulary }}.language
            and left({{ lexicon_words }}.word, 3) = left({{ vocabulary }}.word, 3)
    left join {{ lexicon_words }} as exact
        on
            exact.language = {{ vocabulary }}.language
            and exact.word = {{ vocabulary }}.word
    where
        exact.word is null
        and length({{ lexicon_words }}.word) >= 4
        and length({{ vocabulary }}.word) >= length({{ lexicon_words }}.word) - 1
        and not {{ matches(vocabulary ~ '.word', "'(ing|ly|ment|mente|ite|ites|idad|idade|ita)$'") }}
        and word_stem({{ vocabulary }}.word, {{ lexicon_words }}.stem_language)
        = word_stem({{ lexicon_words }}.word, {{ lexicon_words }}.stem_language)
    group by
        {{ vocabulary }}.language,
        {{ vocabulary }}.word

),

forms as (

    select
        language,
        {{ collect_map('form', 'word') }} as word_of_form
    from other_forms
    group by language

)
{%- endmacro %}

{# Text of single-spaced words, with a space at both ends, in which each form (inflected_forms) is replaced by the lexicon's word. #}
{% macro in_lexicon_forms(text, forms) -%}
    case
        when {{ forms }} is null then {{ text }}
        else ' ' || {{ joined_members(replaced_members(parts_of('trim(' ~ text ~ ')', "' '"), forms), "' '") }} || ' '
    end
{%- endmacro %}

{# A text with a space in place of each tab and line break. #}
{% macro on_one_line(text) -%}
    {{ translated(text, 'chr(9) || chr(10) || chr(13)', "'   '") }}
{%- endmacro %}

{# A text trimmed, with each run of white space replaced by one space. #}
{% macro single_spaced(text) -%}
    trim({{ replace_matches(text, "'[\\p{Z}\\p{Cc}]+'", "' '") }})
{%- endmacro %}

{# An excerpt of a long text around a part of it. #}
{% macro around(text, part) -%}
    case
        when length({{ text }}) <= {{ most_quoted_characters() }} then {{ text }}
        else substr({{ text }}, greatest(1, position({{ part }} in {{ text }}) - {{ most_quoted_characters() // 2 }}), {{ most_quoted_characters() }})
    end
{%- endmacro %}
{% macro most_quoted_characters() %}{{ return(200) }}{% endmacro %}

{# Number of words of a text, as as_words separates them. #}
{% macro words_in(text) -%}
    len({{ parts_of('trim(' ~ as_words(text) ~ ')', "' '") }})
{%- endmacro %}

{#
    Key that is equal for a name and its look-alikes: accents removed; letters of other scripts and forms, digits and punctuation
    replaced by the Latin letter that they imitate; then letters and spaces only. Characters that imitate each other share a
    letter: i, l and 1 are l; rn is m and vv is w.
#}
{% macro look_alike_key(text) -%}
    {%- set others = "'аеорсухкмтнвіѕԁјӏгьԛԝһ" ~ "αορνετκιυχ" ~ "013456789i|!$@€£'" -%}
    {%- set latin = "'aeopcyxkmthblsdjlrbqwh" ~ "aopvetklux" ~ "oleasbtbglllsael'" -%}
    replace(replace({{ replace_matches(
        translated(without_accents('lower(' ~ in_plain_letters(text) ~ ')'), others, latin), "'[^\\p{L} ]+'", "''"
    ) }}, 'rn', 'm'), 'vv', 'w')
{%- endmacro %}

{# A text with plain letters in place of circled ones and of rare Latin ones. #}
{% macro in_plain_letters(text) -%}
    {%- set others = "'ⓐⓑⓒⓓⓔⓕⓖⓗⓘⓙⓚⓛⓜⓝⓞⓟⓠⓡⓢⓣⓤⓥⓦⓧⓨⓩⒶⒷⒸⒹⒺⒻⒼⒽⒾⒿⓀⓁⓂⓃⓄⓅⓆⓇⓈⓉⓊⓋⓌⓍⓎⓏ" ~ "ıøØđĐłŁŧŦħĦ¢'" -%}
    {%- set latin = "'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz" ~ "iooddlltthhc'" -%}
    case
        when {{ bytes_in(text) }} <> length({{ text }}) then {{ translated(in_plain_width(text), others, latin) }}
        else {{ text }}
    end
{%- endmacro %}

{#
    A text as words (as_words) in which the ratio 1:1 is a word of its own, 1to1: without the colon it would match "1 1/2 inch"
    and "USB 1.1".
#}
{% macro as_words_and_ratios(text) -%}
    {%- set has_ratio -%}
        {{ has_text(text, "'1:1'") }} or {{ has_text(text, "'1：1'") }} or {{ has_text(text, "'1 : 1'") }}
    {%- endset -%}
    {{ as_words('case when ' ~ has_ratio ~ ' then ' ~ replace_matches(
        text, "'(^|[^\\p{N}:.,])1 ?[:：] ?1($|[^\\p{N}:])'", "'\\1 1to1 \\2'"
    ) ~ ' else ' ~ text ~ ' end') }}
{%- endmacro %}

{# Number of places in which letters of two scripts are adjacent; no keyboard layout produces these. #}
{% macro mixed_words(text) -%}
    {{ count_matches(text, "'[\\p{Latin}][\\p{Cyrillic}\\p{Greek}]|[\\p{Cyrillic}\\p{Greek}][\\p{Latin}]'") }}
{%- endmacro %}

{#
    Titles are compared by MinHash bands over their words and word pairs: two titles with Jaccard similarity j agree in a band
    with probability j^6, and in one of the four with 1 - (1 - j^6)^4: 0.79 if the last of eleven words was changed (j = 19/23),
    0.001 if two titles of one product share a quarter. Each band is a number.
#}
{% macro title_bands() %}{{ return([0, 1, 2, 3]) }}{% endmacro %}
{% macro hashes_per_band() %}{{ return(6) }}{% endmacro %}

{# The columns of a relation that hold the bands. #}
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

{# Digest of a text: its title and description together. #}
{% macro written_digest(relation) -%}
    {{ text_digest("coalesce(" ~ relation ~ ".title, '') || chr(10) || coalesce(" ~ relation ~ ".description, '')") }}
{%- endmacro %}

{# The part of a finding's digest that does not depend on the text: code, engine, and the brands' names. One row. #}
{% macro text_recipes() -%}
    select {{ digest_recipe() }} || ':' || coalesce(sum({{ row_hash([
        'names.name_key', 'names.word_count', 'names.known_from', 'names.known_until'
    ]) }}), 0) as recipe
    from {{ source('landed', 'run') }} as run
    left join {{ ref('int_brand_names') }} as names
        on true
    group by {{ digest_recipe() }}
{%- endmacro %}

{# The language of a review as in the seeds; an empty string if it is not stated. #}
{% macro review_language(relation) -%}
    coalesce(lower(left({{ relation }}.language, 2)), '')
{%- endmacro %}

{#
    Normalised text of a review for fingerprints: lower case, without invisible characters, spaces and common punctuation (removed
    by translation, because a regular expression takes twice the time).
#}
{% macro review_key(text) -%}
    {{ translated('lower(' ~ as_read(text) ~ ')', "' .,;:!?-()''。，！？、；：' || chr(9) || chr(10) || chr(13)", "''") }}
{%- endmacro %}

{#
    Minimum length in bytes of a review's text, without spaces and punctuation, for comparisons. Shorter texts coincide by chance
    ("great, thanks"): six English words have about as many bytes, or ten Chinese characters.
#}
{% macro least_bytes() %}30{% endmacro %}
