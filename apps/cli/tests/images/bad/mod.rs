//! Bad input through the real commands: registries that fail, documents that lie, layers that try
//! to get out. Every driver gives the same verdict, in one clear line, and keeps nothing of it
//! but what the next try can use.

mod ground;
mod image;
mod layers;
mod references;
mod registry;
