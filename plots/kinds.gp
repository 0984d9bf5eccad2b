# kinds.gp - the kinds of memory: names, colours, and the sum of columns.
kinds = 'weights optimizer gradients versions activations boundary scratch'
kind_count = words(kinds)
array kind_color[kind_count] = [blue, sky, green, yellow, orange, vermilion, pink]
array is_shown[kind_count]
MiB = 1048576.0
GiB = 1024 * MiB
total(from, to) = to < from ? 0 : sum [c = from:to] column(c)
