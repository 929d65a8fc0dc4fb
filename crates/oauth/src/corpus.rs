//! Bad answers of token endpoints, with what each must be read as.
