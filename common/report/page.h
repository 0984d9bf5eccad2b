/*
 * page.h - an HTML page that needs nothing but itself: text, tables, and figures inside it.
 *
 * The skeleton, the style and the script are plots/report.html, .css and .js. A page belongs to one thread.
 */
#ifndef SP_PAGE_H
#define SP_PAGE_H

#include "common/error.h"

#include <stdio.h>

struct sp_page {
    FILE *out; /* the body, as HTML */
    char *body;
    size_t size;
    int figures; /* so far: a figure's ids begin with its number */
};

void sp_page_begin(struct sp_page *page);
void sp_page_fini(struct sp_page *page);

/* Puts the page together and writes it. `plots` is where its parts are. */
sp_status sp_page_write(struct sp_page *page, const char *plots, const char *title, const char *path,
                        struct sp_error *err);

/* Text, with what HTML would take for its own escaped. */
void sp_page_text(struct sp_page *page, const char *text);

/* <TAG>text</TAG> and a new line. `tag` may have attributes: "p class='note'". */
void sp_page_say(struct sp_page *page, const char *tag, const char *format, ...) SP_PRINTF(3, 4);

/* A table: begin, a row of "th", rows of "td", end. A cell that begins with "!" is marked as far off. */
void sp_page_table_begin(struct sp_page *page);
void sp_page_row(struct sp_page *page, const char *tag, const char *const *cells, int count);
void sp_page_table_end(struct sp_page *page);

/* The rows of a CSV file, folded away under `summary`; at most `most`, and then says how many are left out. */
void sp_page_csv(struct sp_page *page, const char *summary, const char *path, int most);

/* An SVG that gnuplot wrote, in the page's own colours, with a caption and, unless NULL, the table behind it. */
sp_status sp_page_figure(struct sp_page *page, const char *svg, const char *caption, const char *csv,
                         struct sp_error *err);

#endif
