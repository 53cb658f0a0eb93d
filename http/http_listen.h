/*
 * The address that the server listens on. Bound early, so that a taken port is known before the TPM
 * is touched; listening late, when everything is measured.
 */
#ifndef HTTP_HTTP_LISTEN_H
#define HTTP_HTTP_LISTEN_H

#include "common/buf.h"

/* "127.0.0.1:8443", "[::1]:8443"; ":8443" is 127.0.0.1; port 0: any free one. ERR_USAGE names what
 * is wrong, ERR_BUSY a port that is taken. */
struct err http_bind(int *out, const char *address) MUST_USE;
struct err http_listen(int fd) MUST_USE;
/* "https://<address>:<port>" as it was bound. */
void http_url(struct buf *out, int fd);

#endif
