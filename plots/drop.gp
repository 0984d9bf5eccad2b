# drop.gp - how much test accuracy is lost against the share of the weights that are stale.
#
#   gnuplot -e "csv='figures/drop.csv'; out='x.svg'" plots/drop.gp
#
# A table with the columns series,stale_percent,drop,drop_low,drop_high,published; drops are percentage points below the
# reference of the same seed, the interval is that of the paired difference. `published` may be empty.
script = 'drop'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'series,stale_percent,drop,drop_low,drop_high,published', '', '2 3 4 5 6', 1)
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
count = 0
lowest = 0
highest = 0
has_interval = 0
has_published = 0
wider(x) = (lowest = x < lowest ? x : lowest, highest = x > highest ? x : highest)
stats all_rows(csv) using (count = count + (has(2) && has(3)), has_interval = has_interval || has(5), \
    has_published = has_published || has(6), \
    wider(number_in(3)), wider(number_in(4)), wider(number_in(5)), wider(number_in(6)), 0) nooutput
if (count == 0) {
    print csv.': no drop in it'
    exit status 1
}
rows = (series_count + has_published + 2) / 3
width = column_width
foot = 18 + 18 * rows
height = 262 + foot
load plots.'/terminal.gp'
set rmargin at screen 1 - 16.0 / width
set tmargin at screen 1 - 12.0 / height
set bmargin at screen (foot + 50.0) / height
set xrange [-3:103]
set xtics 0, 20, 100
room = highest - lowest > 0 ? 0.08 * (highest - lowest) : 0.5
set yrange [lowest - room : highest + room]
set lmargin at screen left_for(y_letters(lowest - room, highest + room)) / width
set ytics y_step(lowest - room, highest + room)
set xlabel 'weights that are stale, %'.(has_interval ? intervals_note : '') offset 0, 0.3
set ylabel 'accuracy drop, % points' offset 1.2, 0
set key at screen 0.5, screen (foot - 10.0) / height center top vertical maxrows rows Left reverse samplen 0.5 width 1
set arrow from graph 0, first 0 to graph 1, first 0 nohead back lw 1 lc rgb grey
plot for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(6)) with points pt hollow(mark_of[s]) ps 1.3 lw 1.2 \
        lc rgb color_of[s] notitle, \
    for [s = 1:series_count] rows_of(csv, series_name[s]) using 2:(known(3)):(bound(4, 3)):(bound(5, 3)) \
        with yerrorbars lw 1.4 pt mark_of[s] ps 0.8 lc rgb color_of[s] title series_name[s], \
    keyentry with points pt hollow(mark_of[1]) ps 1.3 lw 1.2 lc rgb dark title (has_published ? 'published' : '')
