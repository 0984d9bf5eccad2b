# prediction.gp - predicted against measured, a panel for each quantity, a point for each configuration (ends of intervals may be cut). In the dark band
# are half of the predictions, in the light one nine in ten.
#
#   gnuplot -e "csv='figures/prediction.csv'; out='x.svg'" plots/prediction.gp
#
# A table with the columns quantity,series,predicted,measured,measured_low,measured_high; the first has its unit with it
# ("time (s)"), the interval may be empty. Axes are logarithmic where values span more than a factor of 4.
script = 'prediction'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'quantity,series,predicted,measured,measured_low,measured_high', '', '3 4 5 6', 1)
if (wrong ne '') {
    print wrong
    exit status 1
}
most_panels = 4
panels = values_of(csv, 1, most_panels)
panel_count = lines_in(panels)
series = values_of(csv, 2, most_series)
series_count = lines_in(series)
array series_name[series_count]
do for [s = 1:series_count] {
    series_name[s] = line_of(series, s)
}
count = 0
stats all_rows(csv) using (count = count + (number_in(3) > 0 && number_in(4) > 0)) nooutput
if (count == 0) {
    print csv.': nothing in it is both predicted and measured'
    exit status 1
}
# The error below which `share` of a quantity's predictions lie.
error_program = '$1 == quantity && $3 > 0 && $4 > 0 {e = $3 / $4 - 1; print e < 0 ? -e : e}'
rank_program = '{v[NR] = $1} END {at = share * NR; n = int(at) + (at > int(at)); print NR ? v[n < 1 ? 1 : n] : 0}'
error_of(quantity, share) = real(system(sprintf("tail -n +2 '%s' | tr -d '\\r' | awk -F, -v quantity=\"%s\" ", csv, quantity). \
    quoted(error_program).' | sort -g | '.sprintf('awk -v share=%g ', share).quoted(rank_program)))

# Each panel's axes, and the room for the numbers of the longest ones.
array low[panel_count]
array high[panel_count]
array is_wide[panel_count]
letters = 0
do for [p = 1:panel_count] {
    lowest = 1e99
    highest = 0
    stats rows_of(csv, line_of(panels, p)) using (number_in(3) > 0 && number_in(4) > 0 ? \
        (lowest = $3 < lowest ? $3 : lowest, lowest = $4 < lowest ? $4 : lowest, \
         highest = $3 > highest ? $3 : highest, highest = $4 > highest ? $4 : highest, 0) : 0) nooutput
    if (highest <= 0) {
        lowest = 1
        highest = 1
    }
    is_wide[p] = highest > 4 * lowest
    room = highest > lowest ? 0.12 * (highest - lowest) : 0.1 * highest
    low[p] = is_wide[p] ? lowest / 1.3 : lowest - room
    high[p] = is_wide[p] ? highest * 1.3 : highest + room
    these = is_wide[p] ? y_letters_of_decades(low[p], high[p]) : y_letters(low[p], high[p])
    letters = these > letters ? these : letters
}

columns = panel_count > 1 ? 2 : 1
panel_rows = (panel_count + columns - 1) / columns
rows = line_of(series, 1) eq 'all' ? 0 : (series_count + 3 * columns - 1) / (3 * columns)
width = columns * column_width
left = left_for(letters)
side = column_width - left - 20 # a square
each = side + 80
foot = 18 + 18 * rows
height = panel_rows * each + foot + 8
load plots.'/terminal.gp'
set multiplot
unset key
set style fill transparent solid 0.16 noborder
do for [p = 1:panel_count] {
    quantity = line_of(panels, p)
    at_column = (p - 1) % columns
    at_row = (p - 1) / columns
    half_of = error_of(quantity, 0.5)
    most_of = error_of(quantity, 0.9)
    unset logscale
    set lmargin at screen (at_column * column_width + left) / width
    set rmargin at screen (at_column * column_width + left + side) / width
    set tmargin at screen 1 - (at_row * each + 26.0) / height
    set bmargin at screen 1 - (at_row * each + 26.0 + side) / height
    set xrange [low[p]:high[p]]
    set yrange [low[p]:high[p]]
    set xtics autofreq format (is_wide[p] ? '%g' : '% h')
    set ytics autofreq format (is_wide[p] ? '% g' : '% h') # the blank keeps the name off the numbers
    if (is_wide[p]) {
        set logscale xy
    } else {
        set ytics y_step(low[p], high[p])
    }
    set grid xtics ytics back lt 1 lc rgb ruled lw 0.6
    set title sprintf('%s: half within %.2g %%, 90 %% within %.2g %%', quantity, 100 * half_of, 100 * most_of) \
        font bold(small) offset 0, -0.6
    set xlabel 'measured '.quantity offset 0, 0.3
    set ylabel 'predicted '.quantity offset 1.2, 0
    set samples 100
    plot '+' using 1:($1 * (1 - most_of)):($1 * (1 + most_of)) with filledcurves lc rgb grey notitle, \
        '+' using 1:($1 * (1 - half_of)):($1 * (1 + half_of)) with filledcurves lc rgb grey notitle, \
        x with lines lw 1 lc rgb grey notitle, \
        for [s = 1:series_count] rows_of_both(csv, quantity, series_name[s]) \
            using (known(4)):(known(3)):(bound(5, 4)):(bound(6, 4)) with xerrorbars lw 1.2 pt mark_of[s] ps 0.7 \
            lc rgb color_of[s] notitle
}
load plots.'/below.gp'
set key at screen 0.5, screen (foot - 2.0) / height center top vertical maxrows (rows ? rows : 1) Left reverse samplen 0.5 width 1
plot NaN notitle, for [s = 1:series_count] keyentry with points pt mark_of[s] ps 0.75 lc rgb color_of[s] \
    title (rows ? series_name[s] : '')
unset multiplot
