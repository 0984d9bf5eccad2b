# loss.gp - training loss, test loss and test accuracy against the minibatches trained on.
#
#   gnuplot -e "csv='runs/x/losses.csv'; out='x.svg'" plots/loss.gp      (or folder='runs/x')
#
# Variables: window (how many minibatches the training loss is averaged over).
script = 'loss'
needs = 'losses.csv'
if (!exists("plots")) plots = 'plots'
load plots.'/style.gp'
load plots.'/sides.gp'

losses = file[sides]
metrics = where(sides).'/metrics.csv'
finite_rows(path) = int(system('grep -c "[0-9][[:space:]]*$" '.quoted(path).' 2>/dev/null')) # by the last column
wrong = wrong_with(losses, 'minibatch,loss', '1', '2', 1)
tested = wrong eq '' && is_there(metrics) ? finite_rows(metrics) : 0
if (tested) {
    wrong = wrong_with(metrics, 'epoch,minibatch,time_s,loss,test_loss,accuracy', '2', '5 6', 1)
}
if (wrong eq '' && finite_rows(losses) == 0) {
    wrong = losses.': no finite loss in it'
}
if (wrong ne '') {
    print wrong
    exit status 1
}

stats losses skip 1 using 1 nooutput
trained = STATS_max + 1
if (!exists("window")) window = int(finite_rows(losses) / 40)
window = window < 1 ? 1 : int(window)
stats losses skip 1 using 2 nooutput
highest = STATS_max

# The mean of the last `window` losses, of fewer at the start; starts anew after a loss that is not finite. It is drawn
# at the middle of those that it is of.
array ring[window]
begun = 0
total = 0.0
mean(x) = !finite(x) ? (begun = 0, total = 0.0, NaN) : \
    (at = begun % window + 1, total = total + x - (begun < window ? 0 : ring[at]), ring[at] = x, begun = begun + 1, \
     total / (begun < window ? begun : window))

width = 1.2 * column_width
height = 360
load plots.'/terminal.gp'
set label 999 heading('loss and accuracy') at screen 0.5, screen 1 - 18.0 / height center font bold(points) textcolor rgb dark noenhanced
set tmargin at screen 1 - 40.0 / height
set xrange [0 : trained * 1.02]
set yrange [0 : (highest > 0 ? 1.04 * highest : 1)]
set xlabel 'minibatches trained on'
set ylabel 'loss (cross-entropy), nats'
set bmargin 6.2
set key at screen 0.5, screen 0.07 center center vertical maxrows 2 reverse Left samplen 2.5 width -2
if (tested) {
    set border 11
    set y2range [0:100]
    set y2tics 0, 20, 100 out textcolor rgb dark
    set y2label 'test accuracy, %' textcolor rgb dark
}
smoothed = window > 1 ? sprintf('training loss, mean of %d', window) : 'training loss'
training = "losses skip 1 using ($1 + 1):(window > 1 ? $2 : NaN) with points pt 7 ps 0.25 lc rgb color_predicted notitle, \
    losses skip 1 using (smooth = mean($2), $1 + 1 - (begun < window ? begun - 1 : window - 1) / 2.0):(smooth) \
    with linespoints lw 2 pt 7 ps (trained > 1 ? 0 : 0.8) lc rgb blue title smoothed"
if (tested) {
    plot @training, \
         metrics skip 1 using 2:5 with linespoints lw 2 pt 7 ps 0.8 lc rgb orange title 'test loss', \
         metrics skip 1 using 2:(100 * $6) axes x1y2 with linespoints lw 2 dt (6, 3) pt 5 ps 0.8 lc rgb green \
             title 'test accuracy (right)'
} else {
    plot @training
}
