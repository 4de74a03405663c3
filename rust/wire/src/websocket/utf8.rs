//! UTF-8 validation (RFC 6455 section 8.1), in vector registers where the processor has them.

pub(super) use simdutf8::compat::from_utf8 as validate;
