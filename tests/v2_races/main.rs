//! Connection races in v2: every combination that the rules tell apart (`table`), the decisions of
//! real OSDs (`recorded`), and all interleavings of two sides that connect at once (`explore`).

mod explore;
mod recorded;
mod table;
#[path = "../common/tap.rs"]
mod tap;
#[path = "../common/vectors.rs"]
mod vectors;
mod world;
