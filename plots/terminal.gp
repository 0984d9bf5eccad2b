# terminal.gp - opens `out`, `width` x `height` pixels (at 100 an inch), with the look that all pictures share.
scale = ending eq '.png' ? 1.5 : 1
points = ending eq '.svg' ? 13 : 10 # the height of the letters
size(points) = sprintf('%s,%g', font, points)
bold(points) = sprintf('%s:Bold,%g', font, points)
if (ending eq '.svg') set terminal svg size width, height enhanced font size(points) background rgb 'white'
if (ending eq '.pdf') set terminal pdfcairo size width / 100.0, height / 100.0 enhanced font size(points)
if (ending eq '.png') {
    if (strstrt(GPVAL_TERMINALS, 'pngcairo')) {
        set terminal pngcairo size scale * width, scale * height enhanced font size(points) fontscale scale \
            linewidth scale background rgb 'white'
    } else {
        set terminal png truecolor size scale * width, scale * height enhanced font size(points) fontscale scale \
            linewidth scale
    }
}
set output out

set border 3 lw 1 lc rgb dark
set tics out nomirror textcolor rgb dark
set title font bold(1.2 * points) textcolor rgb dark
set key textcolor rgb dark
