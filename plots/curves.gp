# curves.gp - test accuracy against epoch, a curve for each run; runs of several seeds are averaged.
#
#   gnuplot -e "csv='experiments/results/lenet5-mnist.csv'; out='x.svg'" plots/curves.gp
#
# The CSV is what experiments/collect makes: it begins with the columns run,epoch,accuracy. `low` is where the axis
# begins, in per cent.
script = 'curves'
needs = 'curves'
if (!exists("plots")) plots = 'plots'
if (!exists("csv")) {
    print "which file? gnuplot -e \"csv='results.csv'; out='x.svg'\" plots/curves.gp"
    exit status 1
}
folder = system("dirname '".csv."'")
if (!exists("out")) out = system("echo '".csv."' | sed 's/[.]csv$//'").'.svg'
load plots.'/style.gp'
wrong = wrong_with(csv, 'run,epoch,accuracy', '2', '3', 0)
if (wrong ne '') {
    print wrong
    exit status 1
}
runs = system("tail -n +2 ".quoted(csv)." | cut -d, -f1 | awk '!seen[$0]++' | tr '\\n' ' '")
if (!exists("low")) low = 100 * real(system("tail -n +2 ".quoted(csv)." | cut -d, -f3 | sort -g | awk '{v[NR] = $1} END {print v[int(NR / 5) + 1]}'"))

width = 900
height = 480
load plots.'/terminal.gp'
array palette[7] = [dark, blue, vermilion, green, orange, pink, sky]
set title 'test accuracy' noenhanced
set xlabel 'epoch' textcolor rgb dark
set ylabel 'test accuracy, %' textcolor rgb dark
set grid ytics lc rgb pale lw 1
set yrange [low:*]
set key outside right center vertical Left reverse samplen 2 noenhanced
column_of(run) = sprintf("< tail -n +2 '%s' | awk -F, '$1 == \"%s\"' | cut -d, -f2,3", csv, run)
plot for [n = 1:words(runs)] column_of(word(runs, n)) using 1:(100 * $2) smooth unique \
    with linespoints lw 2 pt 5 + n ps 0.6 lc rgb palette[1 + (n - 1) % 7] title word(runs, n)
