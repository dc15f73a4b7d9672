/*
 * forwarded - the parsers of X-Forwarded-For, a list of addresses, and Forwarded, a list of
 * elements (RFC 7239), by which proxies name the hops before them. Both lists are read from their
 * end, since the nearest proxy appends: so elements that a client has sent can't change how those
 * of proxies are read. Pure.
 */
#ifndef MG_HTTP_FORWARDED_H
#define MG_HTTP_FORWARDED_H

#include "base/addr.h"

struct forwarded_hop {
    struct peer peer; /* family 0: no address ("unknown", a name, garbage) */
    struct str proto; /* n = 0: not said */
    struct str host;  /* likewise; without its quotes, not checked */
    bool malformed;   /* the element breaks RFC 7239; its values are ignored */
};

/* Cuts the last element off a comma-separated list; empty elements are skipped (RFC 9110 §5.6.1).
 * False: the list is empty. */
bool forwarded_last(struct str *list, struct str *element);

/* "1.2.3.4", "1.2.3.4:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80" or "unix:". False,
 * and the family is 0, for anything else. */
bool forwarded_node(struct str text, struct peer *peer);

/* Cuts the last element off the header Forwarded, in which a comma in quotes does not end an
 * element; otherwise as forwarded_last. */
bool forwarded_last_hop(struct str *list, struct forwarded_hop *hop);

#endif
