/* error - see error.h. */
#include "tls/error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>

const char *tls_error(const char *fmt, ...)
{
    static char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return text;
}

void tls_error_clear(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

enum metrics_handshake tls_error_kind(void)
{
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER: /* of a record's head, which plain bytes are taken for */
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return METRICS_NO_TLS;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_UNSUPPORTED_SSL_VERSION:
        return METRICS_VERSION;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
        return METRICS_CIPHER;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return METRICS_CERTIFICATE;
    default:
        return reason > SSL_AD_REASON_OFFSET ? METRICS_ALERT : METRICS_BAD_TLS;
    }
}

const char *tls_error_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason != NULL ? reason : "OpenSSL gives no reason";
}

/* Reasons of OpenSSL's that happen daily at a public port. An alert is what the client has said. */
static const struct {
    int reason;
    const char *words;
} error_words[] = {
    {SSL_R_UNSUPPORTED_PROTOCOL, "the client speaks no version of TLS that is served"},
    {SSL_R_VERSION_TOO_LOW, "the client speaks no version of TLS that is served"},
    {SSL_R_WRONG_VERSION_NUMBER, "the client's bytes are no TLS"},
    {SSL_R_HTTP_REQUEST, "the client's bytes are no TLS"},
    {SSL_R_HTTPS_PROXY_REQUEST, "the client's bytes are no TLS"},
    {SSL_R_UNEXPECTED_MESSAGE, "the client's messages are in a wrong order"},
    {SSL_R_NO_SHARED_CIPHER, "client and listener have no cipher in common"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "client and listener have no group of keys in common"},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS,
     "the client takes no signature that the certificate's key can make"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
     "the client takes no signature that the certificate's key can make"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "the client wants neither HTTP/1.1 nor HTTP/2 (ALPN)"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the client has no certificate, and needs one"},
    {SSL_R_CERT_CB_ERROR, "the certificate of the name can't be used"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the client does not know the certificate's authority"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the client does not accept the certificate"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the client does not accept the certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "the client does not accept the certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the client says that the certificate has expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "the client says that the certificate is revoked"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the client accepts nothing that was offered to it"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the client does not accept the version of TLS"},
};

const char *tls_error_words(long verified)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        ERR_clear_error();
        return tls_error("the client's certificate is not accepted: %s",
                         X509_verify_cert_error_string(verified));
    }
    for (unsigned i = 0; i < sizeof error_words / sizeof *error_words; i++)
        if (reason == error_words[i].reason) {
            ERR_clear_error();
            return error_words[i].words;
        }
    return tls_error_reason();
}
