# utilization-stages.gp - how busy the devices are against the number of stages, predicted and measured.
#
#   gnuplot -e "csv='figures/utilization-stages.csv'; out='x.svg'" plots/utilization-stages.gp
script = 'utilization-stages'
if (!exists("plots")) plots = 'plots'
percent = 1
limit = 0
what = 'utilization'
axis = 'utilization, mean of devices, %'
load plots.'/stages.gp'
