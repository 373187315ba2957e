// The way from page to page.

const PAGES = [
  { href: "/", name: "Home" },
  { href: "/on-call", name: "On-call" },
] as const;

/** Links to the pages; the one that is open is marked. */
export function Nav({ here }: { here?: (typeof PAGES)[number]["href"] }) {
  return (
    <nav aria-label="Pages">
      {PAGES.map(({ href, name }) => (
        <a key={href} href={href} {...(href === here && { "aria-current": "page" })}>
          {name}
        </a>
      ))}
    </nav>
  );
}
