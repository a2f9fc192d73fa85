// The theme wraps wide tables in boxes that scroll; those must be reached by keyboard too.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
}).observe(document.documentElement, { childList: true, subtree: true });
