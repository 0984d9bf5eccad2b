#include "common/report/page.h"
#include "common/alloc.h"
#include "common/file.h"
#include "common/report/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void sp_page_begin(struct sp_page *page)
{
    *page = (struct sp_page){0};
    page->out = open_memstream(&page->body, &page->size);
    SP_ASSERT(page->out != NULL, "no memory for a page");
}

void sp_page_fini(struct sp_page *page)
{
    if (page->out != NULL)
        fclose(page->out);
    free(page->body);
    *page = (struct sp_page){0};
}

void sp_page_text(struct sp_page *page, const char *text)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&':
            fputs("&amp;", page->out);
            break;
        case '<':
            fputs("&lt;", page->out);
            break;
        case '>':
            fputs("&gt;", page->out);
            break;
        case '"':
            fputs("&quot;", page->out);
            break;
        default:
            fputc(*text, page->out);
        }
}

void sp_page_say(struct sp_page *page, const char *tag, const char *format, ...)
{
    char *text = NULL;
    va_list values;
    va_start(values, format);
    int length = vasprintf(&text, format, values);
    va_end(values);
    SP_ASSERT(length >= 0, "cannot format \"%s\"", format);
    fprintf(page->out, "<%s>", tag);
    sp_page_text(page, text);
    fprintf(page->out, "</%.*s>\n", (int)strcspn(tag, " "), tag);
    free(text);
}

void sp_page_table_begin(struct sp_page *page)
{
    fputs("<div class=\"scroll\"><table>\n", page->out);
}

void sp_page_row(struct sp_page *page, const char *tag, const char *const *cells, int count)
{
    fputs("<tr>", page->out);
    for (int c = 0; c < count; c++) {
        bool far = cells[c][0] == '!';
        fprintf(page->out, "<%s%s>", tag, far ? " class=\"far\"" : "");
        sp_page_text(page, cells[c] + far);
        fprintf(page->out, "</%s>", tag);
    }
    fputs("</tr>\n", page->out);
}

void sp_page_table_end(struct sp_page *page)
{
    fputs("</table></div>\n", page->out);
}

void sp_page_csv(struct sp_page *page, const char *summary, const char *path, int most)
{
    struct sp_table table;
    struct sp_error err = {0};
    if (sp_table_read(path, &table, &err) == SP_OK) {
        fputs("<details>", page->out);
        sp_page_say(page, "summary", "%s", summary);
        sp_page_table_begin(page);
        sp_page_row(page, "th", (const char *const *)table.names, table.columns);
        for (int r = 0; r < table.rows && r < most; r++)
            sp_page_row(page, "td", (const char *const *)(table.cells + (size_t)r * (size_t)table.columns),
                        table.columns);
        sp_page_table_end(page);
        if (table.rows > most)
            sp_page_say(page, "p class=\"note\"", "%d more rows are in %s.", table.rows - most, path);
        fputs("</details>\n", page->out);
    }
    sp_table_fini(&table);
    sp_error_fini(&err);
}

/* Colours of plots/style.gp that are not data, and what they are on the page: it has a dark side too. */
static const struct {
    const char *gnuplot, *page;
} colours[] = {
    {"rgb( 51,  51,  51)", "var(--ink)"}, {"rgb(51,51,51)", "var(--ink)"},       {"rgb(128, 128, 128)", "var(--muted)"},
    {"rgb(128,128,128)", "var(--muted)"}, {"rgb(221, 221, 221)", "var(--rule)"}, {"rgb(228, 228, 228)", "var(--pale)"},
    {"\"black\"", "\"var(--ink)\""},      {"#FFFFFF", "var(--paper)"},
};

/* Where an id is given or used in an SVG of gnuplot's. */
static const char *const id_signs[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Copies an SVG from its <svg on: ids get a prefix, for several figures share a page; neutral colours become the
 * page's; the background and gnuplot's own fonts go. */
static void copy_svg(FILE *out, const char *svg, int number)
{
    for (const char *at = svg; *at != '\0';) {
        size_t taken = 0;
        if (starts(at, "<rect x=\"0\" y=\"0\"") || starts(at, "<title>Gnuplot</title>") ||
            starts(at, "<desc>Produced by")) {
            const char *end = strchr(at, *at == '<' && at[1] == 'r' ? '>' : '\n');
            at = end == NULL ? at + strlen(at) : end + 1;
            continue;
        }
        if (starts(at, "font-family=\"")) {
            const char *end = strchr(at + 13, '"');
            at = end == NULL ? at + strlen(at) : end + 1;
            continue;
        }
        for (size_t i = 0; i < sizeof id_signs / sizeof *id_signs && taken == 0; i++)
            if (starts(at, id_signs[i])) {
                fprintf(out, "%sf%d-", id_signs[i], number);
                taken = strlen(id_signs[i]);
            }
        for (size_t c = 0; c < sizeof colours / sizeof *colours && taken == 0; c++)
            if (starts(at, colours[c].gnuplot)) {
                fputs(colours[c].page, out);
                taken = strlen(colours[c].gnuplot);
            }
        if (taken == 0) {
            fputc(*at, out);
            taken = 1;
        }
        at += taken;
    }
}

sp_status sp_page_figure(struct sp_page *page, const char *svg, const char *caption, const char *csv,
                         struct sp_error *err)
{
    char *text;
    size_t size;
    SP_TRY(sp_file_read(svg, 1 << 26, NULL, &text, &size, err));
    const char *from = strstr(text, "<svg");
    int width = 0, height = 0;
    const char *box = from == NULL ? NULL : strstr(from, "width=\"");
    if (box == NULL || sscanf(box, "width=\"%d\" height=\"%d\"", &width, &height) != 2) {
        free(text);
        return SP_FAIL(err, SP_E_IO, "%s: not an SVG of gnuplot's", svg);
    }
    /* A wide one does not shrink until it cannot be read. */
    int least = width > 600 ? width * 7 / 10 : 0;
    fprintf(page->out,
            "<figure style=\"width:%dpx\"><div class=\"scroll\">\n<svg style=\"min-width:%dpx\" role=\"img\" ", width,
            least);
    fprintf(page->out,
            "viewBox=\"0 0 %d %d\" xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" "
            "aria-label=\"",
            width, height);
    sp_page_text(page, caption);
    fputs("\">\n", page->out);
    copy_svg(page->out, strchr(from, '>') + 1, page->figures++);
    fputs("</div>\n", page->out);
    free(text);
    sp_page_say(page, "figcaption", "%s", caption);
    if (csv != NULL)
        sp_page_csv(page, "the table behind it", csv, 200);
    fputs("</figure>\n", page->out);
    return SP_OK;
}

/* The file's text; "" and an error where it cannot be read. */
static char *read_part(const char *plots, const char *name, sp_status *status, struct sp_error *err)
{
    char *path = sp_format("%s/%s", plots, name), *text = NULL;
    size_t size;
    sp_status read = sp_file_read(path, 1 << 20, NULL, &text, &size, err);
    if (read != SP_OK)
        *status = read;
    free(path);
    return text != NULL ? text : sp_strdup("");
}

sp_status sp_page_write(struct sp_page *page, const char *plots, const char *title, const char *path,
                        struct sp_error *err)
{
    struct sp_file file;
    sp_status status = SP_OK;
    struct sp_page head;
    sp_page_begin(&head);
    sp_page_text(&head, title);
    fflush(head.out);
    fflush(page->out);
    char *skeleton = read_part(plots, "report.html", &status, err);
    char *style = read_part(plots, "report.css", &status, err);
    char *script = read_part(plots, "report.js", &status, err);
    const struct {
        const char *sign, *text;
    } parts[] = {{"{{title}}", head.body}, {"{{style}}", style}, {"{{body}}", page->body}, {"{{script}}", script}};
    if (status == SP_OK)
        status = sp_file_begin(&file, path, err);
    if (status == SP_OK) {
        for (const char *at = skeleton; *at != '\0';) {
            size_t p = 0;
            while (p < sizeof parts / sizeof *parts && !starts(at, parts[p].sign))
                p++;
            if (p == sizeof parts / sizeof *parts) {
                fputc(*at++, file.stream);
                continue;
            }
            fputs(parts[p].text, file.stream);
            at += strlen(parts[p].sign);
        }
        status = sp_file_commit(&file, err);
    }
    free(skeleton);
    free(style);
    free(script);
    sp_page_fini(&head);
    return status;
}
