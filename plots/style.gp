# style.gp - what the pictures share: palette, checks of the data, sizes, and what becomes of the caller's variables.
#
# A script sets `script` (its name), loads this one, checks its files with wrong_with(), sets `width` and `height`, loads
# terminal.gp, and draws. What it cannot draw it says in one line, and exits with status 1 before `out` is touched.
# Variables of the caller: csv (the table), out (ends in .svg, .pdf or .png; default: beside the table), plots (where the
# scripts are), font. Scripts of a run (sides.gp) take `folder` instead of `csv` too, and then draw both sides of a
# comparison.
#
# Sizes are in pixels of the SVG, 120 to an inch of the PDF: 420 are a column of a paper, 860 its page, with letters of 8
# points. A PNG has two pixels for each.

if (!exists("csv") && !exists("folder")) {
    print "which file? gnuplot -e \"csv='table.csv'; out='x.svg'\" plots/".script.".gp"
    exit status 1
}
if (!exists("csv")) csv = ''
if (!exists("out")) {
    if (exists("folder")) {
        out = folder.'/'.script.'.svg'
    } else {
        out = (csv[strlen(csv) - 3 : *] eq '.csv' ? csv[1 : strlen(csv) - 4] : csv).'.svg'
    }
}
if (strstrt(csv.out, "'") || (exists("folder") && strstrt(folder, "'"))) {
    print csv.', '.out.": no quotes in these names, please"
    exit status 1
}
if (!exists("font")) font = 'DejaVu Sans'
set encoding utf8
set datafile separator ','
column_width = 420
page_width = 860

# Okabe and Ito's colours, which differ in lightness too; series take them in the order of `color_of`.
blue = 0x0072B2; orange = 0xE69F00; green = 0x009E73; pink = 0xCC79A7; sky = 0x56B4E9; vermilion = 0xD55E00
yellow = 0xF0E442; pale = 0xE4E4E4; grey = 0x808080; dark = 0x333333; ruled = 0xDDDDDD
color_predicted = 0x9CC9E3
color_measured = 0x1F5A8C
most_series = 8
array color_of[most_series] = [blue, vermilion, green, orange, pink, sky, dark, yellow]
array mark_of[most_series] = [7, 5, 9, 11, 13, 15, 7, 5] # filled; their outlines are one less
hollow(mark) = mark - 1

# --- shell ------------------------------------------------------------------------------------------------------------

quoted(text) = "'".text."'"
is_there(path) = system('test -r '.quoted(path).' && test -f '.quoted(path).' && echo yes') eq 'yes'

# What is wrong with a CSV file, as one line; '' if nothing is. `header` is how its first line begins, `counts` and
# `reals` the columns that hold numbers, from 0 the ones, below 1e100 the others. `gaps` 1: a real may be nan, inf or ''.
csv_program = ' \
    function wrong(text) { if (!said) print text; said = 1; exit } \
    function is_number(x) { return x ~ /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/ && x < 1e100 && x > -1e100 } \
    function bad(c, what) { wrong("line " NR ", column " c ": \"" substr($c, 1, 20) "\" is not " what) } \
    BEGIN { count_count = split(counts, count, " "); real_count = split(reals, real, " ") } \
    { sub(/\r$/, "") } \
    /[\001-\010\013-\037]/ { wrong("line " NR " is not text") } \
    /[\042\044\047\134\140]/ { wrong("line " NR " has a quote, a dollar or a backslash, which no table for a figure has") } \
    NR == 1 { if (index($0, header) != 1) wrong("the first line is not \"" header "\""); columns = NF; next } \
    NF != columns { wrong("line " NR " has " NF " of " columns " columns") } \
    { for (i = 1; i <= count_count; i++) \
          if ($(count[i]) !~ /^[0-9]+$/ || length($(count[i])) > 15) bad(count[i], "a count"); \
      for (i = 1; i <= real_count; i++) \
          if (!is_number($(real[i])) && !(gaps && $(real[i]) ~ /^([-+]?(nan|inf))?$/)) bad(real[i], "a number") } \
    END { if (!said && NR < 2) print (NR ? "no rows below the header" : "the file is empty") }'
csv_complaint(path, header, counts, reals, gaps) = \
    system(sprintf("LC_ALL=C tr '\\000' '\\001' < '%s' | LC_ALL=C awk -F, -v header='%s' ", path, header). \
           sprintf("-v counts='%s' -v reals='%s' -v gaps=%d ", counts, reals, gaps).quoted(csv_program).' 2>&1 | head -n 1')
wrong_with(path, header, counts, reals, gaps) = !is_there(path) ? path.': no such file' : \
    (wrong_text = csv_complaint(path, header, counts, reals, gaps)) eq '' ? '' : path.': '.wrong_text

# The different values of a column in the order in which they come, one a line, at most `most`.
values_of(path, number, most) = system(sprintf("tail -n +2 '%s' | tr -d '\\r' | awk -F, '!seen[$%d]++ {print $%d}' | head -n %d", \
    path, number, number, most))
lines_in(text) = text eq '' ? 0 : int(system("awk 'END {print NR}' <<'===='\n".text."\n===="))
line_of(text, n) = system("sed -n ".n."p <<'===='\n".text."\n====")
# The rows of a table, all or those in which columns 1 and 2 have these values, as what `plot` takes. A column is added, for
# gnuplot does not see an empty last one.
selected(path, filter) = sprintf("< tail -n +2 '%s' | tr -d '\\r' | LC_ALL=C awk -F, ", path).filter." {print $0 \",.\"}'"
all_rows(path) = selected(path, "'")
rows_of(path, first) = selected(path, sprintf("-v a=\"%s\" '$1 == a", first))
rows_of_both(path, first, second) = selected(path, sprintf("-v a=\"%s\" -v b=\"%s\" '$1 == a && $2 == b", first, second))

# In `using`: a column that may be empty, as a number (0, or NaN, where it is), and an end of an interval, which is the
# mean where there is none.
finite(x) = x > -1e99 && x < 1e99
has(c) = strlen(strcol(c)) > 0 && finite(column(c))
number_in(c) = has(c) ? column(c) : 0
known(c) = has(c) ? column(c) : NaN
bound(c, mean) = has(c) ? column(c) : known(mean)
three(x) = sprintf(x < 10 ? '%.2f' : x < 100 ? '%.1f' : '%.0f', x)
intervals_note = ' (bars: 95 % intervals)'
first_of(shown, there, what) = there > shown ? sprintf('the first %d of %d %s', shown, there, what) : ''

# A y axis from `low` to `high`: the step of its numbers (1, 2 or 5 of a power of ten, some six of them), the letters of
# the longest, and what the axis needs at the left in pixels, its name included. In powers of ten: y_letters_of_decades.
y_step(low, high) = (raw = (high - low) / 5.0, power = 10.0 ** floor(log10(raw)), \
    raw < 1.5 * power ? power : raw < 3.5 * power ? 2 * power : raw < 7.5 * power ? 5 * power : 10 * power)
longer(text) = strlen(text) > longest_text ? (longest_text = strlen(text), 0) : 0
y_letters(low, high) = (longest_text = 0, step = y_step(low, high), \
    (sum [t = ceil(low / step) : floor(high / step)] longer(sprintf('%g', t * step))), longest_text)
y_letters_of_decades(low, high) = (longest_text = 0, \
    (sum [t = floor(log10(low)) : ceil(log10(high))] longer(sprintf('%g', 10.0 ** t))), longest_text)
left_for(letters) = 42.0 + 8.6 * (letters < 2 ? 2 : letters)

# The first string of that key in a JSON file of ours, which has a key a line; '' if there is none.
json_text(path, key) = system(sprintf("sed -n 's/^ *\"%s\": \"\\(.*\\)\",*$/\\1/p' ", key).quoted(path).\
    ' 2>/dev/null | head -n 1 | sed ''s/\\\(["\\]\)/\1/g''')

# --- the terminal -----------------------------------------------------------------------------------------------------

ending = out[strlen(out) - 3 : strlen(out)]
if (ending ne '.svg' && ending ne '.png' && ending ne '.pdf') {
    print out.': the picture must end in .svg, .png or .pdf'
    exit status 1
}
if (system('test -w "$(dirname '.quoted(out).')" && echo yes') ne 'yes') {
    print out.': cannot write there'
    exit status 1
}
