/*
 * media - the media type of a file by its name.
 */
#ifndef MG_HTTP_MEDIA_H
#define MG_HTTP_MEDIA_H

#include "base/str.h"

/* The media type by the name's extension; "application/octet-stream" for an extension that is not
 * known. */
struct str media_type(struct str name);

#endif
