/* record_type - the types of FastCGI records (FastCGI specification, section 8), for the backends
 * of tests, which use nothing of core/. */
#ifndef MG_TESTS_RECORD_TYPE_H
#define MG_TESTS_RECORD_TYPE_H

enum type {
    BEGIN_REQUEST = 1,
    ABORT_REQUEST,
    END_REQUEST,
    PARAMS,
    STDIN,
    STDOUT,
    STDERR,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    UNKNOWN_TYPE
};

#endif
