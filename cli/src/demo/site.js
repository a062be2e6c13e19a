"use strict";
(() => {
  const grouped = new Intl.NumberFormat("en");
  const show = async () => {
    try {
      const counts = await (await fetch("/counts.json")).json();
      for (const it of document.querySelectorAll("[data-count]")) it.textContent = grouped.format(counts[it.dataset.count]);
      for (const it of document.querySelectorAll("[data-more]")) it.textContent = counts.more[it.dataset.more] ?? "";
      document.getElementById("billed").textContent = counts.billed;
    } catch {
      document.getElementById("billed").textContent = "The demonstration has ended.";
    }
  };
  show();
  setInterval(() => document.hidden || show(), 1000);
})();
