//! What the fuzz targets share: three routers with the null suite, and how octets become what happens to them.
//!
//! Everything here is deterministic: the same octets are the same run.

pub mod check;
pub mod op;
pub mod record;
pub mod router;
pub mod store;
pub mod world;
