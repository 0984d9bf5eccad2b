# curves.gp - test accuracy against epoch, a curve for each run. Runs of several seeds become their mean, with its
# 95 % interval at the end.
#
#   gnuplot -e "csv='experiments/results/lenet5-mnist.csv'; out='x.svg'" plots/curves.gp
#
# The CSV is what experiments/collect makes and `stalepipe report` leaves: it begins with the columns
# run,epoch,accuracy,loss,test_loss,time_s. `low` is where the axis begins, in per cent. curves-time.gp sets `against`.
if (!exists("against")) against = 'epoch'
script = against eq 'epoch' ? 'curves' : 'curves-time'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
wrong = wrong_with(csv, 'run,epoch,accuracy,loss,test_loss,time_s', '2', '3 6', 1)
if (wrong ne '') {
    print wrong
    exit status 1
}
runs = values_of(csv, 1, most_series)
all_runs = lines_in(values_of(csv, 1, 1000))
run_count = lines_in(runs)
array run_name[run_count]
do for [r = 1:run_count] {
    run_name[r] = line_of(runs, r)
}

# Of a run: epoch, mean time, mean accuracy in per cent, its 95 % interval (Student; a mean of one is its own), runs.
curve_program = ' \
    BEGIN { split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093", t, " ") } \
    $1 == run && $3 ~ /[0-9]/ { n[$2]++; time[$2] += $6; sum[$2] += $3; square[$2] += $3 * $3; if ($2 > last) last = $2 } \
    END { for (e = 0; e <= last; e++) if (n[e]) { \
        mean = sum[e] / n[e]; spread = n[e] > 1 ? (square[e] - n[e] * mean * mean) / (n[e] - 1) : 0; \
        half = n[e] > 1 && spread > 0 ? (n[e] > 20 ? 2.09 : t[n[e] - 1]) * sqrt(spread / n[e]) : 0; \
        print e "," time[e] / n[e] "," 100 * mean "," 100 * (mean - half) "," 100 * (mean + half) "," n[e] } }'
curve(r) = sprintf("< tail -n +2 '%s' | tr -d '\\r' | awk -F, -v run=\"%s\" ", csv, run_name[r]).quoted(curve_program)
everything = all_rows(csv)
stats everything using (known(3)) nooutput
if (STATS_records < 1) {
    print csv.': no accuracy in it'
    exit status 1
}
# What the better half of the values do is to be seen; the start of a training is not.
highest = 100 * STATS_max
mean_highest = highest
last_low = highest # of what the runs come to
usual = 100 * STATS_median
end_of(r) = curve(r).' | tail -n 1'
do for [r = 1:run_count] { # the bars at the end are seen whole, unless they are much wider than what the means do
    stats end_of(r) using (last_low = $3 < last_low ? $3 : last_low, $6 > 1 && $5 > highest ? (highest = $5) : 0) nooutput
}
if (highest > mean_highest + (mean_highest - usual) + 2) highest = mean_highest + (mean_highest - usual) + 2
if (!exists("low")) low = usual - 0.6 * (highest - usual)
if (low > last_low - 0.05 * (highest - last_low)) low = last_low - 0.05 * (highest - last_low)
if (low >= highest || low < 0) low = 0
high = highest + 0.06 * (highest - low)
if (high > 100) high = 100
stats everything using 2 nooutput
every = STATS_max > 12 ? ceil(STATS_max / 10) : 1
epochs = STATS_max
stats everything using 6 nooutput
latest = STATS_max
unit = latest >= 3 * 3600 ? 3600.0 : latest >= 180 ? 60.0 : 1.0
x(epoch, time) = against eq 'epoch' ? epoch : time / unit

has_seeds = int(system("tail -n +2 ".quoted(csv)." | cut -d, -f1,2 | sort | uniq -d | head -n 1 | wc -l"))
longest = 0
do for [r = 1:run_count] {
    longest = strlen(run_name[r]) > longest ? strlen(run_name[r]) : longest
}
rows = longest > 20 ? run_count : (run_count + 1) / 2
foot = 18 + 18 * rows
width = exists("wide") ? 1.6 * column_width : column_width
height = (exists("wide") ? 300 : 250) + foot
load plots.'/terminal.gp'
set lmargin at screen left_for(y_letters(low, high)) / width
set ytics y_step(low, high)
set rmargin at screen 1 - 16.0 / width
set tmargin at screen 1 - 14.0 / height
set bmargin at screen (foot + 50.0) / height
set xlabel (against eq 'epoch' ? 'epoch' : 'time since the start, '.(unit == 1 ? 's' : unit == 60 ? 'min' : 'h')). \
    (has_seeds || all_runs > run_count ? ' ('.(has_seeds ? 'bars: 95 % intervals' : ''). \
    (has_seeds && all_runs > run_count ? '; ' : '').(all_runs > run_count ? sprintf('%d of %d runs', run_count, all_runs) : '').')' : '') offset 0, 0.3
set ylabel 'test accuracy, %' offset 1.2, 0
set xrange [0 : x(epochs, latest) + (has_seeds ? run_count + 1 : 0) * 0.012 * x(epochs, latest)]
set yrange [low:high]
set key at screen 0.5, screen (foot - 10.0) / height center top vertical maxrows rows Left reverse samplen 2 width 1
spread = 0.012 * x(epochs, latest) # so that the bars at the end stand side by side
plot for [r = 1:run_count] curve(r) using (x($1, $2)):3 with linespoints lw 1.6 pt mark_of[r] ps 0.6 pointinterval every \
        lc rgb color_of[r] title run_name[r], \
    for [r = 1:run_count] end_of(r) using (x($1, $2) + r * spread):($6 > 1 ? $3 : NaN):4:5 with yerrorbars lw 1.4 \
        pt mark_of[r] ps 0.6 lc rgb color_of[r] notitle
