/*
 * settings - what a script's settings say, checked, as plain structs.
 *
 * Read once from the normalised table that lua/moongate/settings.lua makes (script_settings.c);
 * owned by the generation, never changed afterwards. Durations are seconds, sizes are bytes.
 */
#ifndef MG_SETTINGS_H
#define MG_SETTINGS_H

#include "addr.h"
#include "arena.h"

struct limits {
    size_t request_line;
    size_t header; /* the whole head */
    unsigned headers;
    uint64_t body;
    double header_timeout; /* first byte to the end of the head */
    double body_timeout;   /* between two reads of a body */
    double send_timeout;   /* between two writes to the client */
    double keepalive_timeout;
    unsigned keepalive_requests;
    size_t param_size;
    size_t response_header;
    size_t request_memory;
    size_t response_memory;
    uint64_t spool;
    const char *spool_dir;
    const struct str *header_names; /* kept although they hold '_' or '.' */
    unsigned header_name_count;
};

struct server_settings {
    struct addr addr;
    struct str address; /* as the script wrote it */
};

enum profile { PROFILE_PHP, PROFILE_GENERIC };

struct backend_settings {
    struct str name;
    struct server_settings *servers;
    unsigned server_count;
    unsigned keepalive;
    double keepalive_idle;
    unsigned keepalive_requests;
    double connect_timeout;
    double send_timeout;
    double read_timeout;
    double queue_timeout;
    unsigned attempts;
    enum profile profile;
    struct str root; /* n = 0: none */
    struct str docroot;
    bool resolve_root;
    const struct str *within;
    unsigned within_count;
};

enum access_format { ACCESS_OFF, ACCESS_COMBINED, ACCESS_JSON, ACCESS_FUNCTION };

struct settings {
    struct arena arena; /* holds everything the pointers point to */
    struct limits limits;
    enum access_format access_format;
    double stop_timeout;
    struct backend_settings *backends;
    unsigned backend_count;
};

#endif
