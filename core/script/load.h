/*
 * load - loading a route: moongate.route.load finds, checks and normalises it, and settings and
 * hooks are read from the normalised table. The loader's questions about a route are here, too.
 */
#ifndef MG_SCRIPT_LOAD_H
#define MG_SCRIPT_LOAD_H

#include "script/call.h"

/* Where a route comes from, and what the command line puts in place of its settings. */
struct route {
    const char *path;      /* of the script, absolute; or NULL and */
    const char *source;    /* its text */
    const char *name;      /* what to call that text in messages */
    const char *overrides; /* a Lua table constructor: "{listen={...},workers=2}"; NULL: none */
    int snapshot;          /* a file with what the script's files held (script_snapshot); 0: none */
};

/* Loads, validates and normalises the route, and reads settings and hooks. NULL, or what is wrong
 * (malloc'd, FILE:LINE: message). */
char *script_load(struct script *s, const struct route *route);
/* After script_new has failed: the files that it had loaded, lines of "file TAB path", since a
 * change to one of them may mend it. Valid until the next script_new. */
const char *script_failed_files(void);

/* Writes what the script's files hold, for workers that load it later. False: it can't be written.
 */
bool script_snapshot(struct script *s, int fd);
/* The lines of lua/moongate/route/load.lua's loader_report: what the master needs to know; `ini` is
 * what the report of the generation that serves says of it, or NULL. malloc'd. */
char *script_report(struct script *s, const char *ini);
/* The specs of the route's `test` folder. NULL: they pass, or there are none; else malloc'd text.
 */
char *script_check_tests(struct script *s);

#endif
