//! Safe words for the host kernel's own interface.
//!
//! Every `unsafe` block here says why it is needed and why it is sound; the
//! crates above (except `platform/`) forbid `unsafe` altogether.
