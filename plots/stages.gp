# stages.gp - a quantity against the number of stages, a panel for each value of the first column, predicted (hollow,
# dashed) and measured (filled, with its 95 % interval). The line goes through the means of points with as many stages.
#
# Loaded by speedup.gp and utilization-stages.gp, which set `percent`, `what`, and `limit` (what no point can exceed,
# from `devices`; drawn in grey).
load plots.'/style.gp'
wrong = wrong_with(csv, 'panel,series,stages,devices,predicted,predicted_low,predicted_high,measured,measured_low,measured_high', \
                   '3 4', '5 6 7 8 9 10', 1)
if (wrong ne '') {
    print wrong
    exit status 1
}
most_panels = 6
panels = values_of(csv, 1, most_panels)
panel_count = lines_in(panels)
panels_there = lines_in(values_of(csv, 1, 100000))
series = values_of(csv, 2, most_series)
series_count = lines_in(series)
series_there = lines_in(values_of(csv, 2, 100000))
array series_name[series_count]
do for [s = 1:series_count] {
    series_name[s] = line_of(series, s)
}
scaled(x) = percent ? 100 * x : x
highest = 0
widest = 0
fewest = 1e9
most = 0
has_predicted = 0
has_measured = 0
has_interval = 0
stats all_rows(csv) using (top = number_in(5) > number_in(8) ? number_in(5) : number_in(8), \
    highest = top > highest ? top : highest, wide = number_in(10) > number_in(7) ? number_in(10) : number_in(7), \
    widest = wide > widest ? wide : widest, has_interval = has_interval || wide > 0, \
    has_predicted = has_predicted || number_in(5) > 0, has_measured = has_measured || number_in(8) > 0, \
    fewest = $3 < fewest ? $3 : fewest, most = $3 > most ? $3 : most, 0) nooutput
if (widest > highest) highest = widest < 1.4 * highest ? widest : 1.4 * highest # bars of two runs can be very wide
if (!(highest > 0)) {
    print csv.': no '.what.' in it'
    exit status 1
}

columns = panel_count > 1 ? 2 : 1
rows = (panel_count + columns - 1) / columns
series_rows = (series_count + 3 * columns - 1) / (3 * columns)
width = columns * column_width
# What is left out is told below the panels.
left_out = first_of(panel_count, panels_there, 'panels'). \
    (panels_there > panel_count && series_there > series_count ? ', ' : ''). \
    first_of(series_count, series_there, 'series')
head = 46
foot = 62 + (left_out eq '' ? 0 : 20) + (line_of(series, 1) eq 'all' ? 0 : 18 * series_rows)
each = 236
height = rows * (each + head) + foot - (rows - 1) * 4
load plots.'/terminal.gp'
dodge(s) = (s - (series_count + 1) / 2.0) * 0.5 / (series_count > 4 ? series_count : 4)
set multiplot
set xrange [fewest - 0.5 : most + 0.5]
set xtics 1
top = percent ? 105 : highest * 1.12
set yrange [0:top]
set ytics y_step(0, top)
left = left_for(y_letters(0, top))
set grid ytics back lt 1 lc rgb ruled lw 0.6
unset key
point(c) = scaled(known(c))
edge(c, mean) = scaled(bound(c, mean))
do for [p = 1:panel_count] {
    panel = line_of(panels, p)
    at_column = (p - 1) % columns
    at_row = (p - 1) / columns
    set lmargin at screen (at_column * column_width + left) / width
    set rmargin at screen ((at_column + 1) * column_width - 14.0) / width
    set tmargin at screen 1 - (at_row * (each + head - 4) + head) * 1.0 / height
    set bmargin at screen 1 - (at_row * (each + head - 4) + each) * 1.0 / height
    set title (panel_count > 1 ? panel : what.(panel eq 'all' ? '' : ', '.panel)) offset 0, -0.4
    set ylabel (at_column == 0 ? axis : '') offset 1.2, 0
    set xlabel (at_row == rows - 1 || p + columns > panel_count ? 'stages'.(has_interval ? intervals_note : '') : '') offset 0, 0.3
    plot rows_of(csv, panel) using ($3 - 0.32):(limit ? $4 : NaN):(0.64):(0) \
            with vectors nohead lw 1.2 lc rgb grey notitle, \
        for [s = 1:series_count] rows_of_both(csv, panel, series_name[s]) using ($3 + dodge(s)):(point(5)) \
            smooth unique with lines lw 1.2 dt (5, 4) lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of_both(csv, panel, series_name[s]) using ($3 + dodge(s)):(point(8)) \
            smooth unique with lines lw 1.6 lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of_both(csv, panel, series_name[s]) \
            using ($3 + dodge(s)):(point(5)):(edge(6, 5)):(edge(7, 5)) with yerrorbars lw 1.2 pt hollow(mark_of[s]) ps 0.75 \
            lc rgb color_of[s] notitle, \
        for [s = 1:series_count] rows_of_both(csv, panel, series_name[s]) \
            using ($3 + dodge(s)):(point(8)):(edge(9, 8)):(edge(10, 8)) with yerrorbars lw 1.6 pt mark_of[s] ps 0.75 \
            lc rgb color_of[s] notitle
}
# The legend, below all panels: the series, then what the marks mean.
load plots.'/below.gp'
set label 1 left_out at screen 0.5, screen (foot - 22.0) / height center textcolor rgb dark noenhanced
set key at screen 0.5, screen (foot - (left_out eq '' ? 34.0 : 48.0)) / height center top vertical maxrows series_rows Left reverse samplen 0.5 width 1
plot NaN notitle, for [s = 1:series_count] keyentry with points pt mark_of[s] ps 0.75 lc rgb color_of[s] \
        title (series_name[s] eq 'all' ? '' : series_name[s])
set key at screen 0.5, screen 24.0 / height center top horizontal Left reverse samplen 2.5 width 1
plot NaN notitle, keyentry with linespoints lw 1.2 dt (5, 4) pt 6 ps 0.75 lc rgb dark title (has_predicted ? 'predicted' : ''), \
    keyentry with linespoints lw 1.6 pt 7 ps 0.75 lc rgb dark title (has_measured ? 'measured' : ''), \
    keyentry with lines lw 1.2 lc rgb grey title (limit ? 'devices' : '')
unset multiplot
