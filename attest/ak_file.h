/*
 * An attestation key from a file, in the forms that tools write: PEM (SubjectPublicKeyInfo),
 * TPM2B_PUBLIC or TPMT_PUBLIC; and a signature as TPMT_SIGNATURE or raw.
 */
#ifndef ATTEST_AK_FILE_H
#define ATTEST_AK_FILE_H

#include "attest/tpm_public.h"

enum { AK_FILE_MAX = 8192 }; /* bytes */

/* RSA of 2048, 3072 or 4096 bits with exponent 65537, P-256 or P-384. From a public area everything
 * is known; PEM says nothing of attributes, name and scheme: name.len and scheme stay 0.
 * ERR_MALFORMED, ERR_UNSUPPORTED, ERR_LIMIT. Free with tpm_public_cleanup. */
struct err ak_file_parse(struct tpm_public *out, struct bytes data) MUST_USE;

/* Appends `data` as a TPMT_SIGNATURE: as it is, or, where it is raw, with the scheme and hash of
 * `ak` before it; where `ak` has none (PEM), with RSASSA or ECDSA and SHA-256 (P-384: SHA-384). Raw
 * is an RSA signature of the modulus's length, or for ECDSA the DER of r and s or both at full
 * length. ERR_MALFORMED. */
struct err ak_signature(struct buf *out, const struct tpm_public *ak, struct bytes data) MUST_USE;

/* Takes scheme and hash from the signature where the key fixes none. ERR_UNTRUE unless they are
 * RSASSA, RSAPSS or ECDSA, as the key's type wants, with SHA-256, -384 or -512. */
struct err ak_take_scheme(struct tpm_public *ak, struct bytes signature) MUST_USE;

#endif
