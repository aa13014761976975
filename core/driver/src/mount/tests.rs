//! Tests that need the private parts: the two interfaces, escaping.
