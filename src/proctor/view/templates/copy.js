
// Every button with the class "copy" puts its data-copy into the clipboard.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (button === null) return;
  const text = button.textContent;
  const copied = await navigator.clipboard.writeText(button.dataset.copy).then(() => true, () => false);
  button.textContent = copied ? "Copied" : "Not allowed";
  button.classList.toggle("done", copied);
  setTimeout(() => {
    button.textContent = text;
    button.classList.remove("done");
  }, 1200);
});
