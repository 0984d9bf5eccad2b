/*
 * draw.h - figures by gnuplot, with the scripts of plots/.
 */
#ifndef SP_DRAW_H
#define SP_DRAW_H

#include "common/error.h"

/* The folder of the scripts and of the page's parts: beside the program's, or below the working folder. The caller
 * frees. Not found: SP_E_IO. */
sp_status sp_plots_find(char **out, struct sp_error *err);

/* Draws PLOTS/SCRIPT.gp, with `data` ("csv" or "folder") being `path`, as OUT.svg, OUT.pdf and OUT.png. What the script
 * complains of, or no gnuplot: SP_E_IO, and none of the three is left. */
sp_status sp_draw(const char *plots, const char *script, const char *data, const char *path, const char *out,
                  struct sp_error *err);

#endif
