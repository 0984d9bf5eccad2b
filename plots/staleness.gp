# staleness.gp - how old the weights of each stage are when a minibatch goes through it.
#
#   gnuplot -e "csv='figures/staleness.csv'; out='x.svg'" plots/staleness.gp
#
# A table with the columns series,stage,predicted,measured (in updates; either may be empty).
script = 'staleness'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'series,stage,predicted,measured', '2', '3 4', 1)
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
highest = 0
has_predicted = 0
has_measured = 0
stats all_rows(csv) using (has_predicted = has_predicted || has(3), has_measured = has_measured || has(4), \
    highest = number_in(3) > highest ? number_in(3) : highest, highest = number_in(4) > highest ? number_in(4) : highest, 0) \
    nooutput
stats all_rows(csv) using 2 nooutput
last = STATS_max
if (!has_predicted && !has_measured) {
    print csv.': no staleness in it'
    exit status 1
}
rows = (series_count + 2) / 3
width = column_width
foot = 46 + 18 * rows
height = 264 + foot
load plots.'/terminal.gp'
dodge(s) = (s - (series_count + 1) / 2.0) * 0.5 / (series_count > 4 ? series_count : 4)
set multiplot
set lmargin at screen left_for(strlen(sprintf('%.0f', highest))) / width
set rmargin at screen 1 - 14.0 / width
set tmargin at screen 1 - 14.0 / height
set bmargin at screen (foot + 48.0) / height
set xrange [-0.5 : last + 0.5]
set xtics 0, (last > 20 ? ceil(last / 10) : 1)
set yrange [0 : highest < 2 ? 2.2 : 1.1 * highest]
set ytics 0, (highest > 12 ? ceil(highest / 6) : highest > 6 ? 2 : 1)
set xlabel 'stage, from the input on' offset 0, 0.3
set ylabel 'staleness, updates' offset 1.2, 0
unset key
plot for [s = 1:series_count] rows_of(csv, series_name[s]) using ($2 + dodge(s)):(known(has_measured ? 4 : 3)) \
        with lines lw 1.4 lc rgb color_of[s] notitle, \
    for [s = 1:series_count] rows_of(csv, series_name[s]) using ($2 + dodge(s)):(known(4)) \
        with points pt mark_of[s] ps 0.6 lc rgb color_of[s] notitle, \
    for [s = 1:series_count] rows_of(csv, series_name[s]) using ($2 + dodge(s)):(known(3)) \
        with points pt hollow(mark_of[s]) ps 1.1 lw 1.2 lc rgb color_of[s] notitle
load plots.'/below.gp'
set key at screen 0.5, screen (foot - 10.0) / height center top vertical maxrows rows Left reverse samplen 0.5 width 1
plot NaN notitle, for [s = 1:series_count] keyentry with points pt mark_of[s] ps 0.75 lc rgb color_of[s] title series_name[s]
set key at screen 0.5, screen 26.0 / height center top horizontal Left reverse samplen 0.5 width 1
plot NaN notitle, keyentry with points lw 1.2 pt 6 ps 1.1 lc rgb dark title (has_predicted ? 'by analysis' : ''), \
    keyentry with points pt 7 ps 0.6 lc rgb dark title (has_measured ? 'counted' : '')
unset multiplot
