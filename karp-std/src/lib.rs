//! The operating system around karp-core.
