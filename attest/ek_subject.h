/*
 * What an EK certificate says of its TPM, for people: manufacturer, model and version from the
 * subjectAltName (TCG EK Credential Profile 3.1.2), or the subject's common name. What it says is
 * believed as far as its issuer is.
 */
#ifndef ATTEST_EK_SUBJECT_H
#define ATTEST_EK_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

/* Whether the subjectAltName has a directory name with manufacturer, model and version. */
bool ek_subject_names_tpm(X509 *cert);

/* Printable ASCII, cut to `size`; "" when the certificate says nothing. */
void ek_subject(char *out, size_t size, X509 *cert);

#endif
