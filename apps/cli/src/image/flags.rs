//! What the commands of images take: Docker's flags, with Docker's meanings.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Download an image from a registry
    Pull(PullFlags),
    /// List images
    Images(ListFlags),
    /// Search a registry for images
    Search(SearchFlags),
    /// Remove one or more images
    Rmi(RemoveFlags),
    /// Create a tag TARGET that refers to SOURCE
    Tag(TagFlags),
    /// Show the history of an image
    History(HistoryFlags),
    /// Return low-level information on images
    Inspect(InspectFlags),
    /// Upload an image to a registry
    Push(PushFlags),
    /// Save one or more images to a tar archive
    Save(SaveFlags),
    /// Load images from a tar archive or standard input
    Load(LoadFlags),
    /// Import the contents from a tarball to create an image
    Import(ImportFlags),
    /// Authenticate to a registry
    Login(LoginFlags),
    /// Log out from a registry
    Logout {
        /// The registry [default: Docker Hub]
        server: Option<String>,
    },
    /// Say which layer of an image gives a path, and what hides it elsewhere
    #[command(after_help = "Exit codes: 0 the image has the path, 1 it has not.")]
    Explain(ExplainFlags),
    /// Say what images take: what is theirs alone, what they share, and where it is
    Usage(UsageFlags),
    /// Hold a store against itself: rows, files, layers, digests
    #[command(
        after_help = "Exit codes: 0 nothing is wrong, 2 something is, 1 it could not be \
                            looked at."
    )]
    Check(CheckFlags),
    /// Move a store's layers to another driver
    Migrate(MigrateFlags),
    /// Manage images
    Image(ImageGroup),
    /// Manage the store: disk usage, pruning
    System(SystemGroup),
}

#[derive(Debug, Args)]
pub(crate) struct ImageGroup {
    #[command(subcommand)]
    pub(crate) command: ImageGroupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageGroupCommand {
    /// List images
    #[command(visible_alias = "list")]
    Ls(ListFlags),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(RemoveFlags),
    /// Remove unused images
    Prune(PruneFlags),
    /// Return low-level information on images
    Inspect(InspectFlags),
    /// Show the history of an image
    History(HistoryFlags),
    /// Download an image from a registry
    Pull(PullFlags),
    /// Upload an image to a registry
    Push(PushFlags),
    /// Save one or more images to a tar archive
    Save(SaveFlags),
    /// Load images from a tar archive or standard input
    Load(LoadFlags),
    /// Import the contents from a tarball to create an image
    Import(ImportFlags),
    /// Create a tag TARGET that refers to SOURCE
    Tag(TagFlags),
}

#[derive(Debug, Args)]
pub(crate) struct SystemGroup {
    #[command(subcommand)]
    pub(crate) command: SystemCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show disk usage; with -v each image
    Df {
        /// Format output: table, raw, json, or a Go template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Remove unused data
    Prune(PruneFlags),
    /// Delete what was removed, and end
    #[command(hide = true)]
    Sweep,
}

#[derive(Debug, Args)]
pub(crate) struct PullFlags {
    /// NAME[:TAG|@DIGEST]
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: String,
    /// Download all tagged images in the repository
    #[arg(long, short = 'a')]
    pub(crate) all_tags: bool,
    /// Set platform if the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Suppress verbose output
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub(crate) struct ListFlags {
    /// Only these
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
    /// Show all images (default hides intermediate images)
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Filter output based on conditions provided
    #[arg(long, short, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Format output: table, raw, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only show image IDs
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchFlags {
    /// What to look for; a registry's name may stand before it: `127.0.0.1:5000/app`
    pub(crate) term: String,
    /// Filter output based on conditions provided
    #[arg(long, short, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Max number of search results
    #[arg(long, default_value_t = 25, value_name = "N")]
    pub(crate) limit: u32,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveFlags {
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Force removal of the image
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    pub(crate) no_prune: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PruneFlags {
    /// Remove all unused images, not just dangling ones
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(long, short)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TagFlags {
    /// An image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub(crate) source: String,
    /// Its further name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryFlags {
    /// An image
    pub(crate) image: String,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(long, short = 'H', default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) human: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only show image IDs
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectFlags {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Format output: json, or a Go template
    #[arg(long, short, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PushFlags {
    /// NAME[:TAG]
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
    /// Suppress verbose output
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SaveFlags {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Write to a file, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write layers as plain tars, written again from the store's trees
    #[arg(long)]
    pub(crate) uncompressed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoadFlags {
    /// Read from a tar archive file, instead of standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportFlags {
    /// A tar of a root file system; `-` for standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) name: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(long, short, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Set commit message for imported image
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Set platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginFlags {
    /// The registry [default: Docker Hub]
    pub(crate) server: Option<String>,
    /// Username
    #[arg(long, short, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password; better given on standard input
    #[arg(long, short, value_name = "TEXT", conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub(crate) struct CheckFlags {
    /// Look at rows, files and journals, and at layers by sizes and times; the default
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,
    /// Read every layer and blob, and compare digests
    #[arg(long)]
    pub(crate) full: bool,
    /// Mend what can be mended: from blobs, by taking in, by removing what belongs to nothing
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateFlags {
    /// The driver that is to hold the layers
    #[arg(long, value_name = "DRIVER")]
    pub(crate) to: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainFlags {
    /// An image
    pub(crate) image: String,
    /// A path in it
    pub(crate) path: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UsageFlags {
    /// One image; all if none is named
    pub(crate) image: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
