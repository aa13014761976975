//! Part of the catalogue.
