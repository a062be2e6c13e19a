//! End-to-end tests: through the binary, and against programs that others wrote.

mod peers;
