# speedup.gp - speedup over one device against the number of stages, predicted and measured, a panel for each network.
#
#   gnuplot -e "csv='figures/speedup.csv'; out='x.svg'" plots/speedup.gp
script = 'speedup'
if (!exists("plots")) plots = 'plots'
percent = 0
limit = 1
what = 'speedup'
axis = 'speedup over one device'
load plots.'/stages.gp'
