/*
 * What an EK certificate says of its TPM, for people: manufacturer, model and version from the
 * subjectAltName (TCG EK Credential Profile 3.1.2), or the subject's common name. Nothing is
 * decided by it.
 */
#ifndef ATTEST_EK_SUBJECT_H
#define ATTEST_EK_SUBJECT_H

#include <stddef.h>

#include <openssl/x509.h>

/* Printable ASCII, cut to `size`; "" when the certificate says nothing. */
void ek_subject(char *out, size_t size, X509 *cert);

#endif
