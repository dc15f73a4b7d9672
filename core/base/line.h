/*
 * line - a line of the error log in the form that its outlet has: text, text for a stream to the
 * journal, syslog messages, or a line with fields for the journal (base/datagram).
 */
#ifndef MG_BASE_LINE_H
#define MG_BASE_LINE_H

#include "base/log.h"
#include "base/outlet.h"

#define LINE_SIZE       16384
#define LINE_COUNT_SIZE 100 /* of what a quota says at the end of a line */

/* A line before an outlet has made it its own. */
struct log_line {
    enum log_level level;
    struct str text;               /* not escaped; a newline begins a further line of it */
    const struct log_about *about; /* NULL: no request */
    const char *count;             /* what a quota says at the end; "": nothing */
};

/* Writes the line, and returns the number of bytes; the last one is a newline. What does not fit is
 * cut, but not the line's end. */
size_t line_render(const struct outlet *o, const struct log_line *l, char out[LINE_SIZE]);

#endif
