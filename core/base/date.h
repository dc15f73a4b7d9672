/*
 * date - HTTP-dates (RFC 9110 §5.6.7). Pure, and the same in every locale: a script may change that
 * of the process.
 */
#ifndef MG_BASE_DATE_H
#define MG_BASE_DATE_H

#include "base/str.h"

#include <time.h>

enum { DATE_LENGTH = 29 };
#define DATE_NONE ((time_t)-1)

/* Writes an IMF-fixdate, DATE_LENGTH bytes and a NUL. Years outside of 1 to 9999 become the nearest
 * of these. */
void date_format(time_t at, char out[DATE_LENGTH + 1]);

/* Reads a date in any of the three formats; a year of two digits is no more than 50 years after
 * now. DATE_NONE for a text that is no date. */
time_t date_parse(struct str text, time_t now);

/* "Jan" for 0, as in struct tm. */
const char *date_month(int month);

#endif
