/*
 * metrics - the counters of shm/metrics.h as Lua sees them: all of them for the control listener,
 * and the metrics that scripts make (moongate.metrics).
 *
 * core.counters() returns what this instance has counted:
 *
 *     bounds    the buckets' upper bounds, in seconds
 *     series    list of { backend, tenant, methods = { GET = { counts by class, from 0 on } } }
 *     backends  list of { name, bytes_in, bytes_out, retries, messages = { fatal = n }, phases =
 *               { queue = histogram } }, where a histogram is { counts..., sum = seconds }
 *     runs      { on_request = { count, errors, timeouts, seconds } }
 *     turns     by a worker's number: a histogram
 *     protocols { ["HTTP/1.1"] = count }
 *     accepted, refused = { connections, per_ip }, shared_full,
 *     cached = { hit, miss, stale, bypass }
 *     spans     { exported, full, failed, rejected }
 *     tls       { ["TLSv1.3"] = { full, resumed } }: handshakes that have succeeded
 *     handshake_failures { no_tls, version, cipher, client_certificate, refused_by_client,
 *               client_left, other }
 *     limited   { request_line, header, body, timeout, queue, per_ip }: requests that were refused
 *
 * core.scripts() returns the scripts of applications that take most time, see shm/scripts.h.
 *
 * The backend "" is none; a name that is `false` stands for all that have no place of their own.
 */
#ifndef MG_SCRIPT_METRICS_H
#define MG_SCRIPT_METRICS_H

struct lua_State;

/* Adds core.counters, and the functions that moongate.metrics is made of, to the table on the top.
 */
void script_metrics_open(struct lua_State *L);

#endif
