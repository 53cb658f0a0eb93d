#include "engine/sample_fault.h"

struct err sample_fault(enum sample_fault fault, size_t id, size_t n_vocab, unsigned min_tokens)
{
    switch (fault) {
    case SAMPLE_NOT_A_NUMBER:
        return err_set(ERR_UNTRUE,
                       "the model gave a logit that is not a number (token %zu); its weights may "
                       "be damaged",
                       id);
    case SAMPLE_INFINITE:
        return err_set(ERR_UNTRUE,
                       "the model gave an infinite logit (token %zu); its weights may be damaged",
                       id);
    case SAMPLE_NONE_ALLOWED:
        return err_set(ERR_USAGE,
                       "the mask of allowed tokens allows none of the %zu in the "
                       "vocabulary; no token can be chosen",
                       n_vocab);
    case SAMPLE_ONLY_ENDS:
        break;
    }
    return err_set(ERR_USAGE,
                   "only tokens that end the answer are allowed here, and min_tokens (%u) is not "
                   "reached; ask for a smaller min_tokens",
                   min_tokens);
}
