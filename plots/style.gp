# style.gp - what the pictures share: palette, terminal, the two sides of a comparison, and checks of the data.
#
# A script sets `script` (its name) and `needs` (its file), loads this one, checks its files with wrong_with(), sets
# `width` and `height`, loads terminal.gp, and draws. What it cannot draw it says in one line, and exits with status 1
# before `out` is touched. Variables of the caller: folder (required), out, plots (where the scripts are), font.

if (!exists("folder")) {
    print "which folder? gnuplot -e \"folder='runs/x'; out='x.svg'\" plots/".script.".gp"
    exit status 1
}
if (!exists("out")) out = folder.'/'.script.'.svg'
if (strstrt(folder.out, "'")) {
    print folder.', '.out.": no quotes in these names, please"
    exit status 1
}
if (!exists("font")) font = 'DejaVu Sans'
set encoding utf8
set datafile separator ','

# Okabe and Ito's colours, which differ in lightness too.
blue = 0x0072B2; orange = 0xE69F00; green = 0x009E73; pink = 0xCC79A7; sky = 0x56B4E9; vermilion = 0xD55E00
yellow = 0xF0E442; pale = 0xE9E9E9; grey = 0x8A8A8A; dark = 0x333333
color_predicted = 0x9CC9E3
color_measured = 0x1F5A8C

# --- shell ------------------------------------------------------------------------------------------------------------

quoted(text) = "'".text."'"
is_there(path) = system('test -r '.quoted(path).' && echo yes') eq 'yes'

# What is wrong with a CSV file, as one line; '' if nothing is. `header` is how its first line begins, `counts` and
# `reals` the columns that hold numbers, from 0 the ones, below 1e100 the others. `gaps` 1: a real may be nan, inf or ''.
csv_program = ' \
    function wrong(text) { if (!said) print text; said = 1; exit } \
    function is_number(x) { return x ~ /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/ && x < 1e100 && x > -1e100 } \
    function bad(c, what) { wrong("line " NR ", column " c ": \"" substr($c, 1, 20) "\" is not " what) } \
    BEGIN { count_count = split(counts, count, " "); real_count = split(reals, real, " ") } \
    { sub(/\r$/, "") } \
    /[\001-\010\013-\037]/ { wrong("line " NR " is not text") } \
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

# The first string of that key in a JSON file of ours, which has a key a line; '' if there is none.
json_text(path, key) = system(sprintf("sed -n 's/^ *\"%s\": \"\\(.*\\)\",*$/\\1/p' ", key).quoted(path).' 2>/dev/null | head -n 1')

# --- the two sides ----------------------------------------------------------------------------------------------------

# `sides`, label[1..2] ("predicted", "measured") and where[1..2], the folders that hold `needs`.
array label[2]
array where[2]
sides = 0
do for [side in "predicted measured"] {
    if (is_there(folder.'/'.side.'/'.needs)) {
        sides = sides + 1
        label[sides] = side
        where[sides] = folder.'/'.side
    }
}
if (sides == 0) {
    sides = 1
    label[1] = is_there(folder.'/losses.csv') ? 'measured' : 'predicted'
    where[1] = folder
}
is_comparison = sides == 2

name = json_text(where[1].'/summary.json', 'name')
if (name eq '') name = system('basename '.quoted(folder))
about = json_text(where[1].'/summary.json', 'network')
schedule = json_text(where[1].'/summary.json', 'schedule')
if (schedule ne '') about = about.', '.schedule
heading(what) = name.(about eq '' ? '' : ' ('.about.')').': '.what

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
