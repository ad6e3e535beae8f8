// Before the first paint: dark or light as Airflow's own UI has it (its choice is in localStorage), else as the system.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem("theme");
    } catch {
      // No storage in this browser: the system decides.
    }
    const dark = chosen === "dark" || (chosen !== "light" && system.matches);
    const theme = dark ? "dark" : "light";
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    dispatchEvent(new Event("theme"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  // The storage event does not fire in the window that wrote, and Airflow may be that window's other frame.
  setInterval(apply, 2000);
})();
