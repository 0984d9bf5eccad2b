# curves-time.gp - test accuracy against the time that it took; otherwise curves.gp.
#
#   gnuplot -e "csv='experiments/results/lenet5-mnist.csv'; out='x.svg'" plots/curves-time.gp
if (!exists("plots")) plots = 'plots'
against = 'time'
load plots.'/curves.gp'
