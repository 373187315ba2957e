// What may be told over the network of an error that names files of the server: their names, without the folders.

/** An absolute path of a POSIX system or of Windows, up to its last name. */
const FOLDERS = /(?<=^|[\s"'(=])(?:[A-Za-z]:[\\/]|\/)(?:[^\s"'\\/:]+[\\/])*/g;

/** Where a blob of a registry lies: its digest, the first two digits of it a folder. */
const BLOB = /(?<=[\\/])sha256[\\/]([0-9a-f]{2})[\\/]([0-9a-f]{62})(?![0-9a-f])/g;

/** The text without folders; those of `paths` may have spaces in their names. */
export function withoutFolders(text: string, ...paths: readonly string[]): string {
  let told = withDigests(text);
  for (const path of paths.map(withDigests)) {
    const folder = path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
    if (folder.length > 1) told = told.replaceAll(folder, "");
  }
  return told.replace(FOLDERS, "");
}

/** A blob is known by its whole digest. */
function withDigests(text: string): string {
  return text.replace(BLOB, "sha256:$1$2");
}
