'use strict';

function valueOf(row, column) {
  const cell = row.cells[column];
  if (!('value' in cell.dataset)) return cell.textContent.trim().toLowerCase();
  const isThere = cell.dataset.value !== '' && cell.dataset.value !== '-1';
  return isThere ? Number(cell.dataset.value) : null;
}

function compare(first, second) {
  return typeof first === 'string' ? first.localeCompare(second) : first - second;
}

function sortBy(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const isNumber = heading.classList.contains('number');
  const wasUp = heading.getAttribute('aria-sort') === 'ascending';
  const isFirst = !heading.hasAttribute('aria-sort');
  const isUp = isFirst ? !isNumber : !wasUp;  // the largest figures come first
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', isUp ? 'ascending' : 'descending');
  const rows = Array.from(table.tBodies[0].rows, (row) => [valueOf(row, column), row]);
  const missing = rows.filter(([value]) => value === null);  // at the end either way
  const present = rows.filter(([value]) => value !== null);
  present.sort(([a], [b]) => compare(a, b) * (isUp ? 1 : -1));
  table.tBodies[0].append(...present.concat(missing).map(([, row]) => row));
}

for (const table of document.querySelectorAll('table.sortable')) {
  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    heading.querySelector('button')?.addEventListener('click', () => sortBy(table, column));
  });
}

const enlarged = document.getElementById('enlarged');
for (const button of document.querySelectorAll('.zoom')) {
  button.addEventListener('click', () => {
    const source = button.querySelector('img');
    const target = enlarged.querySelector('img');
    target.src = source.src;
    target.alt = source.alt;
    target.classList.toggle('inverted', button.classList.contains('plot'));
    enlarged.querySelector('p').textContent = source.alt;
    enlarged.showModal();
  });
}
enlarged.addEventListener('click', () => enlarged.close());
