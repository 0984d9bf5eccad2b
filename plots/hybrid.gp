# hybrid.gp - accuracy and speedup against the switch point: which share of the minibatches goes through the pipeline
# before training goes on without it.
#
#   gnuplot -e "csv='figures/hybrid.csv'; out='x.svg'" plots/hybrid.gp
#
# A table with the columns series,switch_percent,accuracy,accuracy_low,accuracy_high (in per cent),predicted,measured,
# measured_low,measured_high (speedups); all but the first two may be empty.
script = 'hybrid'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'series,switch_percent,accuracy,accuracy_low,accuracy_high,predicted,measured,measured_low,measured_high', \
                   '', '2 3 4 5 6 7 8 9', 1)
if (wrong ne '') {
    print wrong
    exit status 1
}
series = values_of(csv, 1, most_series)
series_count = lines_in(series)
array series_name[series_count]
do for [s = 1:series_count] {
    series_name[s] = line_of(series, s)
}
has_accuracy = 0
has_predicted = 0
has_measured = 0
has_interval = 0
fastest = 0
widest = 0
low = 1e99 # of the accuracies, bars included
high = -1e99
span(c) = has(c) ? (low = column(c) < low ? column(c) : low, high = column(c) > high ? column(c) : high, 0) : 0
stats all_rows(csv) using (has_accuracy = has_accuracy || has(3), has_predicted = has_predicted || has(6), \
    has_measured = has_measured || has(7), has_interval = has_interval || has(5) || has(9), \
    top = number_in(6) > number_in(7) ? number_in(6) : number_in(7), fastest = top > fastest ? top : fastest, \
    widest = number_in(9) > widest ? number_in(9) : widest, span(3), span(4), span(5), 0) nooutput
if (widest > fastest) fastest = widest < 1.4 * fastest ? widest : 1.4 * fastest # bars of two runs can be very wide
panels = has_accuracy + (fastest > 0)
if (panels == 0) {
    print csv.': neither accuracy nor speedup in it'
    exit status 1
}
rows = line_of(series, 1) eq 'all' ? 0 : (series_count + 2) / 3
width = column_width
foot = 40 + 18 * rows
each = 180
height = panels * each + foot + 52
load plots.'/terminal.gp'
set multiplot
room = high > low ? 0.08 * (high - low) : 0.5
letters = has_accuracy ? y_letters(low - room, high + room) : 0
if (fastest > 0 && y_letters(0, 1.1 * fastest) > letters) letters = y_letters(0, 1.1 * fastest)
set lmargin at screen left_for(letters) / width
set rmargin at screen 1 - 16.0 / width
set xrange [-3:103]
set xtics 0, 20, 100
unset key
show_x = panels == 1
if (has_accuracy) {
    set tmargin at screen 1 - 12.0 / height
    set bmargin at screen 1 - (each - 4.0) / height
    if (panels > 1) { set xtics format '' }
    if (panels == 1) { set xlabel 'switched after, %'.(has_interval ? intervals_note : '') offset 0, 0.3 }
    set ylabel 'test accuracy, %' offset 1.2, 0
    set yrange [low - room : high + room]
    set ytics y_step(low - room, high + room)
    plot for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(3)) smooth unique with lines lw 1.6 \
            lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(3)):(bound(4, 3)):(bound(5, 3)) \
            with yerrorbars lw 1.4 pt mark_of[s] ps 0.8 lc rgb color_of[s] notitle
}
if (fastest > 0) {
    set tmargin at screen 1 - ((panels - 1) * each + 14.0) / height
    set bmargin at screen (foot + 50.0) / height
    set xtics format '%g'
    set xlabel 'switched after, %'.(has_interval ? intervals_note : '') offset 0, 0.3
    set ylabel 'speedup over one device' offset 1.2, 0
    set yrange [0 : 1.1 * fastest]
    set ytics y_step(0, 1.1 * fastest)
    plot for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(6)) smooth unique with lines lw 1.2 dt (5, 4) \
            lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(7)) smooth unique with lines lw 1.6 \
            lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(6)) with points pt hollow(mark_of[s]) ps 0.8 lw 1.2 \
            lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(7)):(bound(8, 7)):(bound(9, 7)) \
            with yerrorbars lw 1.4 pt mark_of[s] ps 0.8 lc rgb color_of[s] notitle
}
load plots.'/below.gp'
set key at screen 0.5, screen (foot - 4.0) / height center top vertical maxrows rows Left reverse samplen 0.5 width 1
plot NaN notitle, for [s = 1:series_count] keyentry with points pt mark_of[s] ps 0.75 lc rgb color_of[s] \
        title (rows ? series_name[s] : '')
set key at screen 0.5, screen 26.0 / height center top horizontal Left reverse samplen 2.5 width 1
plot NaN notitle, keyentry with linespoints lw 1.2 dt (5, 4) pt 6 ps 0.75 lc rgb dark title (has_predicted ? 'predicted' : ''), \
    keyentry with linespoints lw 1.6 pt 7 ps 0.75 lc rgb dark title (has_measured || has_accuracy ? 'measured' : '')
unset multiplot
