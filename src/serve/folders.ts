// What may be told over the network of an error that names files of the server: their names, without the folders.

/** An absolute path of a POSIX system or of Windows, up to its last name. */
const FOLDERS = /(?<=^|[\s"'(=])(?:[A-Za-z]:[\\/]|\/)(?:[^\s"'\\/:]+[\\/])*/g;

/** The text without folders; those of `paths` may have spaces in their names. */
export function withoutFolders(text: string, ...paths: readonly string[]): string {
  let told = text;
  for (const path of paths) {
    const folder = path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
    if (folder.length > 1) told = told.replaceAll(folder, "");
  }
  return told.replace(FOLDERS, "");
}
