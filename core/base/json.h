/*
 * json - JSON written into a buffer of fixed size. The writer knows whether a comma is due, so the
 * caller names members and values only. What does not fit sets `full`, and nothing is written from
 * then on.
 */
#ifndef MG_BASE_JSON_H
#define MG_BASE_JSON_H

#include "base/str.h"

struct json {
    char *out;
    size_t size, used;
    bool full;
    bool follows; /* the next member or element needs a comma */
};

void json_init(struct json *j, char *out, size_t size);
/* Begins and ends an object or a list: '{', '[', '}' or ']'. */
void json_open(struct json *j, char bracket);
void json_close(struct json *j, char bracket);
/* The name of the next member. */
void json_name(struct json *j, const char *name);
/* Writes a text, of which at most `most` bytes are taken. UTF-8 stays; control bytes, and bytes
 * that are no UTF-8, become escapes. */
void json_text(struct json *j, struct str text, size_t most);
/* Writes a number with at most six decimals. */
void json_number(struct json *j, double value);
/* The bytes that are left. */
size_t json_room(const struct json *j);

#endif
